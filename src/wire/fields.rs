//! Bytes to values and back, shared by every message: little-endian integers, and byte strings behind a
//! length that is checked against its limit before anything is taken.

/// Why bytes are not what the protocol says they must be. It is always the other side's doing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("ends in the middle of {what}")]
    Truncated { what: &'static str },
    #[error("has {extra} bytes too many at its end")]
    Trailing { extra: usize },
    #[error("says that {what} has {got} bytes, where at most {limit} may stand")]
    TooLong { what: &'static str, got: u64, limit: u64 },
    #[error("has the unknown tag {tag} for {what}")]
    UnknownTag { what: &'static str, tag: u8 },
    #[error("holds {what} that cannot be: {why}")]
    BadValue { what: &'static str, why: String },
}

/// Takes values off the front of a message.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn bytes(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated { what })?;
        self.rest = rest;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated { what })?;
        self.rest = rest;
        Ok(*taken)
    }

    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(what)?[0])
    }

    pub fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub fn i64(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        self.array(what).map(i64::from_le_bytes)
    }

    /// 0 or 1.
    pub fn flag(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(DecodeError::UnknownTag { what, tag }),
        }
    }

    /// A byte string behind a 16-bit length of at most `limit`.
    pub fn string(&mut self, limit: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.u16(what)?;
        if usize::from(len) > limit {
            return Err(DecodeError::TooLong { what, got: len.into(), limit: limit as u64 });
        }
        self.bytes(len.into(), what)
    }

    /// Nothing may be left over.
    pub fn end(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(DecodeError::Trailing { extra }),
        }
    }
}

/// Appends values to a message.
pub(super) struct Writer<'a>(pub &'a mut Vec<u8>);

impl Writer<'_> {
    pub fn u8(&mut self, v: u8) -> &mut Self {
        self.0.push(v);
        self
    }

    pub fn u16(&mut self, v: u16) -> &mut Self {
        self.bytes(&v.to_le_bytes())
    }

    pub fn u32(&mut self, v: u32) -> &mut Self {
        self.bytes(&v.to_le_bytes())
    }

    pub fn u64(&mut self, v: u64) -> &mut Self {
        self.bytes(&v.to_le_bytes())
    }

    pub fn i64(&mut self, v: i64) -> &mut Self {
        self.bytes(&v.to_le_bytes())
    }

    pub fn bytes(&mut self, v: &[u8]) -> &mut Self {
        self.0.extend_from_slice(v);
        self
    }

    /// A byte string behind its length, cut at `limit`: what we send must be what the other side accepts.
    pub fn string(&mut self, v: &[u8], limit: usize) -> &mut Self {
        let v = &v[..v.len().min(limit)];
        self.u16(v.len() as u16).bytes(v)
    }
}
