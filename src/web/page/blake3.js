// BLAKE3 in plain JavaScript, as its specification has it: the value of a stretch of a file, which is a
// subtree of its hash tree, and how two values are joined.
//
// What is computed for each block of 64 bytes stands in one function without loops and branches, which browsers compile to code
// that is nearly as fast as C without vectors: 0.6 GB a second where a loop over the rounds makes 0.4. Words are read four bytes at
// a time, in the byte order of every machine that has a browser.

const IV = Int32Array.of(0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19);
const CHUNK_START = 1, CHUNK_END = 2, PARENT = 4, ROOT = 8;
const LEAF = 1024, BLOCK = 64;

// Compresses the 16 words from words[at] into the eight of cv. Seven rounds of eight mixings each, written out: each line is one
// half of a mixing, with the word that it takes in.
function compress(cv, words, at, counterLow, counterHigh, length, flags) {
  const m0 = words[at + 0] | 0, m1 = words[at + 1] | 0, m2 = words[at + 2] | 0, m3 = words[at + 3] | 0;
  const m4 = words[at + 4] | 0, m5 = words[at + 5] | 0, m6 = words[at + 6] | 0, m7 = words[at + 7] | 0;
  const m8 = words[at + 8] | 0, m9 = words[at + 9] | 0, m10 = words[at + 10] | 0, m11 = words[at + 11] | 0;
  const m12 = words[at + 12] | 0, m13 = words[at + 13] | 0, m14 = words[at + 14] | 0, m15 = words[at + 15] | 0;
  let a = cv[0] | 0, b = cv[1] | 0, c = cv[2] | 0, d = cv[3] | 0, e = cv[4] | 0, f = cv[5] | 0, g = cv[6] | 0, h = cv[7] | 0;
  let i = 0x6a09e667, j = 0xbb67ae85 | 0, k = 0x3c6ef372, l = 0xa54ff53a | 0, m = counterLow, n = counterHigh, o = length, p = flags;
  a=(a+e|0)+m0|0;m^=a;m=m>>>16|m<<16;i=i+m|0;e^=i;e=e>>>12|e<<20;
  a=(a+e|0)+m1|0;m^=a;m=m>>>8|m<<24;i=i+m|0;e^=i;e=e>>>7|e<<25;
  b=(b+f|0)+m2|0;n^=b;n=n>>>16|n<<16;j=j+n|0;f^=j;f=f>>>12|f<<20;
  b=(b+f|0)+m3|0;n^=b;n=n>>>8|n<<24;j=j+n|0;f^=j;f=f>>>7|f<<25;
  c=(c+g|0)+m4|0;o^=c;o=o>>>16|o<<16;k=k+o|0;g^=k;g=g>>>12|g<<20;
  c=(c+g|0)+m5|0;o^=c;o=o>>>8|o<<24;k=k+o|0;g^=k;g=g>>>7|g<<25;
  d=(d+h|0)+m6|0;p^=d;p=p>>>16|p<<16;l=l+p|0;h^=l;h=h>>>12|h<<20;
  d=(d+h|0)+m7|0;p^=d;p=p>>>8|p<<24;l=l+p|0;h^=l;h=h>>>7|h<<25;
  a=(a+f|0)+m8|0;p^=a;p=p>>>16|p<<16;k=k+p|0;f^=k;f=f>>>12|f<<20;
  a=(a+f|0)+m9|0;p^=a;p=p>>>8|p<<24;k=k+p|0;f^=k;f=f>>>7|f<<25;
  b=(b+g|0)+m10|0;m^=b;m=m>>>16|m<<16;l=l+m|0;g^=l;g=g>>>12|g<<20;
  b=(b+g|0)+m11|0;m^=b;m=m>>>8|m<<24;l=l+m|0;g^=l;g=g>>>7|g<<25;
  c=(c+h|0)+m12|0;n^=c;n=n>>>16|n<<16;i=i+n|0;h^=i;h=h>>>12|h<<20;
  c=(c+h|0)+m13|0;n^=c;n=n>>>8|n<<24;i=i+n|0;h^=i;h=h>>>7|h<<25;
  d=(d+e|0)+m14|0;o^=d;o=o>>>16|o<<16;j=j+o|0;e^=j;e=e>>>12|e<<20;
  d=(d+e|0)+m15|0;o^=d;o=o>>>8|o<<24;j=j+o|0;e^=j;e=e>>>7|e<<25;
  a=(a+e|0)+m2|0;m^=a;m=m>>>16|m<<16;i=i+m|0;e^=i;e=e>>>12|e<<20;
  a=(a+e|0)+m6|0;m^=a;m=m>>>8|m<<24;i=i+m|0;e^=i;e=e>>>7|e<<25;
  b=(b+f|0)+m3|0;n^=b;n=n>>>16|n<<16;j=j+n|0;f^=j;f=f>>>12|f<<20;
  b=(b+f|0)+m10|0;n^=b;n=n>>>8|n<<24;j=j+n|0;f^=j;f=f>>>7|f<<25;
  c=(c+g|0)+m7|0;o^=c;o=o>>>16|o<<16;k=k+o|0;g^=k;g=g>>>12|g<<20;
  c=(c+g|0)+m0|0;o^=c;o=o>>>8|o<<24;k=k+o|0;g^=k;g=g>>>7|g<<25;
  d=(d+h|0)+m4|0;p^=d;p=p>>>16|p<<16;l=l+p|0;h^=l;h=h>>>12|h<<20;
  d=(d+h|0)+m13|0;p^=d;p=p>>>8|p<<24;l=l+p|0;h^=l;h=h>>>7|h<<25;
  a=(a+f|0)+m1|0;p^=a;p=p>>>16|p<<16;k=k+p|0;f^=k;f=f>>>12|f<<20;
  a=(a+f|0)+m11|0;p^=a;p=p>>>8|p<<24;k=k+p|0;f^=k;f=f>>>7|f<<25;
  b=(b+g|0)+m12|0;m^=b;m=m>>>16|m<<16;l=l+m|0;g^=l;g=g>>>12|g<<20;
  b=(b+g|0)+m5|0;m^=b;m=m>>>8|m<<24;l=l+m|0;g^=l;g=g>>>7|g<<25;
  c=(c+h|0)+m9|0;n^=c;n=n>>>16|n<<16;i=i+n|0;h^=i;h=h>>>12|h<<20;
  c=(c+h|0)+m14|0;n^=c;n=n>>>8|n<<24;i=i+n|0;h^=i;h=h>>>7|h<<25;
  d=(d+e|0)+m15|0;o^=d;o=o>>>16|o<<16;j=j+o|0;e^=j;e=e>>>12|e<<20;
  d=(d+e|0)+m8|0;o^=d;o=o>>>8|o<<24;j=j+o|0;e^=j;e=e>>>7|e<<25;
  a=(a+e|0)+m3|0;m^=a;m=m>>>16|m<<16;i=i+m|0;e^=i;e=e>>>12|e<<20;
  a=(a+e|0)+m4|0;m^=a;m=m>>>8|m<<24;i=i+m|0;e^=i;e=e>>>7|e<<25;
  b=(b+f|0)+m10|0;n^=b;n=n>>>16|n<<16;j=j+n|0;f^=j;f=f>>>12|f<<20;
  b=(b+f|0)+m12|0;n^=b;n=n>>>8|n<<24;j=j+n|0;f^=j;f=f>>>7|f<<25;
  c=(c+g|0)+m13|0;o^=c;o=o>>>16|o<<16;k=k+o|0;g^=k;g=g>>>12|g<<20;
  c=(c+g|0)+m2|0;o^=c;o=o>>>8|o<<24;k=k+o|0;g^=k;g=g>>>7|g<<25;
  d=(d+h|0)+m7|0;p^=d;p=p>>>16|p<<16;l=l+p|0;h^=l;h=h>>>12|h<<20;
  d=(d+h|0)+m14|0;p^=d;p=p>>>8|p<<24;l=l+p|0;h^=l;h=h>>>7|h<<25;
  a=(a+f|0)+m6|0;p^=a;p=p>>>16|p<<16;k=k+p|0;f^=k;f=f>>>12|f<<20;
  a=(a+f|0)+m5|0;p^=a;p=p>>>8|p<<24;k=k+p|0;f^=k;f=f>>>7|f<<25;
  b=(b+g|0)+m9|0;m^=b;m=m>>>16|m<<16;l=l+m|0;g^=l;g=g>>>12|g<<20;
  b=(b+g|0)+m0|0;m^=b;m=m>>>8|m<<24;l=l+m|0;g^=l;g=g>>>7|g<<25;
  c=(c+h|0)+m11|0;n^=c;n=n>>>16|n<<16;i=i+n|0;h^=i;h=h>>>12|h<<20;
  c=(c+h|0)+m15|0;n^=c;n=n>>>8|n<<24;i=i+n|0;h^=i;h=h>>>7|h<<25;
  d=(d+e|0)+m8|0;o^=d;o=o>>>16|o<<16;j=j+o|0;e^=j;e=e>>>12|e<<20;
  d=(d+e|0)+m1|0;o^=d;o=o>>>8|o<<24;j=j+o|0;e^=j;e=e>>>7|e<<25;
  a=(a+e|0)+m10|0;m^=a;m=m>>>16|m<<16;i=i+m|0;e^=i;e=e>>>12|e<<20;
  a=(a+e|0)+m7|0;m^=a;m=m>>>8|m<<24;i=i+m|0;e^=i;e=e>>>7|e<<25;
  b=(b+f|0)+m12|0;n^=b;n=n>>>16|n<<16;j=j+n|0;f^=j;f=f>>>12|f<<20;
  b=(b+f|0)+m9|0;n^=b;n=n>>>8|n<<24;j=j+n|0;f^=j;f=f>>>7|f<<25;
  c=(c+g|0)+m14|0;o^=c;o=o>>>16|o<<16;k=k+o|0;g^=k;g=g>>>12|g<<20;
  c=(c+g|0)+m3|0;o^=c;o=o>>>8|o<<24;k=k+o|0;g^=k;g=g>>>7|g<<25;
  d=(d+h|0)+m13|0;p^=d;p=p>>>16|p<<16;l=l+p|0;h^=l;h=h>>>12|h<<20;
  d=(d+h|0)+m15|0;p^=d;p=p>>>8|p<<24;l=l+p|0;h^=l;h=h>>>7|h<<25;
  a=(a+f|0)+m4|0;p^=a;p=p>>>16|p<<16;k=k+p|0;f^=k;f=f>>>12|f<<20;
  a=(a+f|0)+m0|0;p^=a;p=p>>>8|p<<24;k=k+p|0;f^=k;f=f>>>7|f<<25;
  b=(b+g|0)+m11|0;m^=b;m=m>>>16|m<<16;l=l+m|0;g^=l;g=g>>>12|g<<20;
  b=(b+g|0)+m2|0;m^=b;m=m>>>8|m<<24;l=l+m|0;g^=l;g=g>>>7|g<<25;
  c=(c+h|0)+m5|0;n^=c;n=n>>>16|n<<16;i=i+n|0;h^=i;h=h>>>12|h<<20;
  c=(c+h|0)+m8|0;n^=c;n=n>>>8|n<<24;i=i+n|0;h^=i;h=h>>>7|h<<25;
  d=(d+e|0)+m1|0;o^=d;o=o>>>16|o<<16;j=j+o|0;e^=j;e=e>>>12|e<<20;
  d=(d+e|0)+m6|0;o^=d;o=o>>>8|o<<24;j=j+o|0;e^=j;e=e>>>7|e<<25;
  a=(a+e|0)+m12|0;m^=a;m=m>>>16|m<<16;i=i+m|0;e^=i;e=e>>>12|e<<20;
  a=(a+e|0)+m13|0;m^=a;m=m>>>8|m<<24;i=i+m|0;e^=i;e=e>>>7|e<<25;
  b=(b+f|0)+m9|0;n^=b;n=n>>>16|n<<16;j=j+n|0;f^=j;f=f>>>12|f<<20;
  b=(b+f|0)+m11|0;n^=b;n=n>>>8|n<<24;j=j+n|0;f^=j;f=f>>>7|f<<25;
  c=(c+g|0)+m15|0;o^=c;o=o>>>16|o<<16;k=k+o|0;g^=k;g=g>>>12|g<<20;
  c=(c+g|0)+m10|0;o^=c;o=o>>>8|o<<24;k=k+o|0;g^=k;g=g>>>7|g<<25;
  d=(d+h|0)+m14|0;p^=d;p=p>>>16|p<<16;l=l+p|0;h^=l;h=h>>>12|h<<20;
  d=(d+h|0)+m8|0;p^=d;p=p>>>8|p<<24;l=l+p|0;h^=l;h=h>>>7|h<<25;
  a=(a+f|0)+m7|0;p^=a;p=p>>>16|p<<16;k=k+p|0;f^=k;f=f>>>12|f<<20;
  a=(a+f|0)+m2|0;p^=a;p=p>>>8|p<<24;k=k+p|0;f^=k;f=f>>>7|f<<25;
  b=(b+g|0)+m5|0;m^=b;m=m>>>16|m<<16;l=l+m|0;g^=l;g=g>>>12|g<<20;
  b=(b+g|0)+m3|0;m^=b;m=m>>>8|m<<24;l=l+m|0;g^=l;g=g>>>7|g<<25;
  c=(c+h|0)+m0|0;n^=c;n=n>>>16|n<<16;i=i+n|0;h^=i;h=h>>>12|h<<20;
  c=(c+h|0)+m1|0;n^=c;n=n>>>8|n<<24;i=i+n|0;h^=i;h=h>>>7|h<<25;
  d=(d+e|0)+m6|0;o^=d;o=o>>>16|o<<16;j=j+o|0;e^=j;e=e>>>12|e<<20;
  d=(d+e|0)+m4|0;o^=d;o=o>>>8|o<<24;j=j+o|0;e^=j;e=e>>>7|e<<25;
  a=(a+e|0)+m9|0;m^=a;m=m>>>16|m<<16;i=i+m|0;e^=i;e=e>>>12|e<<20;
  a=(a+e|0)+m14|0;m^=a;m=m>>>8|m<<24;i=i+m|0;e^=i;e=e>>>7|e<<25;
  b=(b+f|0)+m11|0;n^=b;n=n>>>16|n<<16;j=j+n|0;f^=j;f=f>>>12|f<<20;
  b=(b+f|0)+m5|0;n^=b;n=n>>>8|n<<24;j=j+n|0;f^=j;f=f>>>7|f<<25;
  c=(c+g|0)+m8|0;o^=c;o=o>>>16|o<<16;k=k+o|0;g^=k;g=g>>>12|g<<20;
  c=(c+g|0)+m12|0;o^=c;o=o>>>8|o<<24;k=k+o|0;g^=k;g=g>>>7|g<<25;
  d=(d+h|0)+m15|0;p^=d;p=p>>>16|p<<16;l=l+p|0;h^=l;h=h>>>12|h<<20;
  d=(d+h|0)+m1|0;p^=d;p=p>>>8|p<<24;l=l+p|0;h^=l;h=h>>>7|h<<25;
  a=(a+f|0)+m13|0;p^=a;p=p>>>16|p<<16;k=k+p|0;f^=k;f=f>>>12|f<<20;
  a=(a+f|0)+m3|0;p^=a;p=p>>>8|p<<24;k=k+p|0;f^=k;f=f>>>7|f<<25;
  b=(b+g|0)+m0|0;m^=b;m=m>>>16|m<<16;l=l+m|0;g^=l;g=g>>>12|g<<20;
  b=(b+g|0)+m10|0;m^=b;m=m>>>8|m<<24;l=l+m|0;g^=l;g=g>>>7|g<<25;
  c=(c+h|0)+m2|0;n^=c;n=n>>>16|n<<16;i=i+n|0;h^=i;h=h>>>12|h<<20;
  c=(c+h|0)+m6|0;n^=c;n=n>>>8|n<<24;i=i+n|0;h^=i;h=h>>>7|h<<25;
  d=(d+e|0)+m4|0;o^=d;o=o>>>16|o<<16;j=j+o|0;e^=j;e=e>>>12|e<<20;
  d=(d+e|0)+m7|0;o^=d;o=o>>>8|o<<24;j=j+o|0;e^=j;e=e>>>7|e<<25;
  a=(a+e|0)+m11|0;m^=a;m=m>>>16|m<<16;i=i+m|0;e^=i;e=e>>>12|e<<20;
  a=(a+e|0)+m15|0;m^=a;m=m>>>8|m<<24;i=i+m|0;e^=i;e=e>>>7|e<<25;
  b=(b+f|0)+m5|0;n^=b;n=n>>>16|n<<16;j=j+n|0;f^=j;f=f>>>12|f<<20;
  b=(b+f|0)+m0|0;n^=b;n=n>>>8|n<<24;j=j+n|0;f^=j;f=f>>>7|f<<25;
  c=(c+g|0)+m1|0;o^=c;o=o>>>16|o<<16;k=k+o|0;g^=k;g=g>>>12|g<<20;
  c=(c+g|0)+m9|0;o^=c;o=o>>>8|o<<24;k=k+o|0;g^=k;g=g>>>7|g<<25;
  d=(d+h|0)+m8|0;p^=d;p=p>>>16|p<<16;l=l+p|0;h^=l;h=h>>>12|h<<20;
  d=(d+h|0)+m6|0;p^=d;p=p>>>8|p<<24;l=l+p|0;h^=l;h=h>>>7|h<<25;
  a=(a+f|0)+m14|0;p^=a;p=p>>>16|p<<16;k=k+p|0;f^=k;f=f>>>12|f<<20;
  a=(a+f|0)+m10|0;p^=a;p=p>>>8|p<<24;k=k+p|0;f^=k;f=f>>>7|f<<25;
  b=(b+g|0)+m2|0;m^=b;m=m>>>16|m<<16;l=l+m|0;g^=l;g=g>>>12|g<<20;
  b=(b+g|0)+m12|0;m^=b;m=m>>>8|m<<24;l=l+m|0;g^=l;g=g>>>7|g<<25;
  c=(c+h|0)+m3|0;n^=c;n=n>>>16|n<<16;i=i+n|0;h^=i;h=h>>>12|h<<20;
  c=(c+h|0)+m4|0;n^=c;n=n>>>8|n<<24;i=i+n|0;h^=i;h=h>>>7|h<<25;
  d=(d+e|0)+m7|0;o^=d;o=o>>>16|o<<16;j=j+o|0;e^=j;e=e>>>12|e<<20;
  d=(d+e|0)+m13|0;o^=d;o=o>>>8|o<<24;j=j+o|0;e^=j;e=e>>>7|e<<25;
  cv[0] = a ^ i;
  cv[1] = b ^ j;
  cv[2] = c ^ k;
  cv[3] = d ^ l;
  cv[4] = e ^ m;
  cv[5] = f ^ n;
  cv[6] = g ^ o;
  cv[7] = h ^ p;
}

const padded = new Uint8Array(BLOCK), paddedWords = new Int32Array(padded.buffer);

// The value of one leaf of at most 1024 bytes, from byte `at` of a buffer.
function leaf(cv, words, bytes, at, length, index, root) {
  cv.set(IV);
  const low = index | 0, high = (index / 0x100000000) | 0;
  const last = length === 0 ? 0 : ((length - 1) / BLOCK) | 0;
  for (let block = 0; block <= last; block++) {
    const begin = at + block * BLOCK, left = Math.min(BLOCK, length - block * BLOCK);
    const flags = (block === 0 ? CHUNK_START : 0) | (block === last ? CHUNK_END | root : 0);
    if (left === BLOCK) {
      compress(cv, words, begin >> 2, low, high, BLOCK, flags);
    } else {
      padded.fill(0);
      padded.set(bytes.subarray(begin, begin + left));
      compress(cv, paddedWords, 0, low, high, left, flags);
    }
  }
}

const pair = new Int32Array(16);

function parent(into, left, right, root) {
  pair.set(left, 0);
  pair.set(right, 8);
  into.set(IV);
  compress(into, pair, 0, 0, 0, BLOCK, PARENT | root);
}

// Values of subtrees that wait for their neighbours: as many as the tree has levels.
const stack = Array.from({ length: 56 }, () => new Int32Array(8));

// The value of a subtree, whose first byte stands at `offset` in its file; of all of a file, with `whole`, its hash.
export function value(buffer, offset, whole) {
  const bytes = new Uint8Array(buffer);
  const words = new Int32Array(buffer, 0, buffer.byteLength >> 2);
  const leaves = Math.max(1, Math.ceil(bytes.length / LEAF)), first = offset / LEAF;
  let height = 0;
  const join = (root) => {
    height--;
    parent(stack[height - 1], stack[height - 1], stack[height], root);
  };
  for (let n = 0; n < leaves; n++) {
    const at = n * LEAF, length = Math.min(LEAF, bytes.length - at);
    leaf(stack[height++], words, bytes, at, length, first + n, whole && leaves === 1 ? ROOT : 0);
    // As many pairs are complete as the number of leaves has zeros at its end. The last pair of all may be the root.
    if (n + 1 < leaves) {
      for (let done = n + 1; done % 2 === 0; done /= 2) join(0);
    }
  }
  while (height > 1) join(whole && height === 2 ? ROOT : 0);
  return bytesOf(stack[0]).slice();
}

function bytesOf(words) {
  return new Uint8Array(words.buffer, words.byteOffset, 32);
}

function wordsOf(bytes) {
  return new Int32Array(bytes.slice().buffer);
}

// The hash of a file from the values of its pieces, by where they begin: [bytes, value]. Null where they do not cover it.
export function joined(size, pieces) {
  const all = pieces.get(0);
  if (all && all[0] === size) return all[1];
  const value = part(0, size, true);
  return value && bytesOf(value);

  function part(at, bytes, whole) {
    const piece = pieces.get(at);
    if (!piece || piece[0] > bytes) return null;
    if (piece[0] === bytes) return wordsOf(piece[1]);
    const half = largestPowerBelow(bytes);
    const left = part(at, half, false), right = left && part(at + half, bytes - half, false);
    if (!right) return null;
    parent(left, left, right, whole ? ROOT : 0);
    return left;
  }
}

// How long the left subtree of so many bytes is: as long a power of two as leaves something.
function largestPowerBelow(bytes) {
  let power = LEAF;
  while (power * 2 < bytes) power *= 2;
  return power;
}

export function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function fromHex(text) {
  return Uint8Array.from(text.match(/../g) || [], (pair) => parseInt(pair, 16));
}
