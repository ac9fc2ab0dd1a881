// Numbers for people. Units are decimal, as everywhere in lanx.

export function bytes(count) {
  if (count < 1000) return `${count} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = count, unit = -1;
  while (unit < units.length - 1 && (unit < 0 || value >= 999.5)) {
    value /= 1000;
    unit++;
  }
  return `${value < 9.95 ? value.toFixed(1) : value.toFixed(0)} ${units[unit]}`;
}

// Of so many bytes a second.
export function rate(bytesPerSecond) {
  const mbit = bytesPerSecond * 8 / 1e6;
  return `${mbit < 9.95 ? mbit.toFixed(1) : mbit.toFixed(0)} Mbit/s`;
}

export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 0.95) return `${Math.max(0.1, seconds).toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor(whole % 3600 / 60)} min`;
}

export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

// A name as it may be shown: what is not to be seen, or turns round what stands beside it, is told by its number. The list has it so
// as well.
export function shown(name) {
  const escape = (c) => c === "\\" ? "\\\\" : `\\u{${c.codePointAt(0).toString(16)}}`;
  return name.replace(/(?![\ufe00-\ufe0f])[\\\p{Cc}\p{Bidi_C}\p{DI}\u2028\u2029\ufff9-\ufffb]/gu, escape);
}
