//! [`Coded`]: numbers, texts, lists and structures as bytes.
//!
//! Numbers are LEB128. A structure is its length and its fields in their order, so that a field may be
//! added at the end: one that was not written yet is absent, one that is not known here is left out.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use agentd_core::{by_vm::ByVm, vm::VmId};

/// What can be written into a recording and read back.
pub(super) trait Coded: Sized {
    /// Appends its bytes; one at least.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads it.
    fn take(input: &mut Input<'_>) -> Result<Self, Odd>;

    /// What stands for it where it was not written; `None` where it always is.
    fn absent() -> Option<Self> {
        None
    }
}

/// Bytes that make no sense: where, by the names of fields from the outside in, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Odd {
    path: String,
    why: String,
}

impl Odd {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self { path: String::new(), why: why.into() }
    }

    fn within(self, name: &str) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Self { path: format!("{name}{dot}{}", self.path), why: self.why }
    }
}

impl std::fmt::Display for Odd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let colon = if self.path.is_empty() { "" } else { ": " };
        write!(f, "{}{colon}{}", self.path, self.why)
    }
}

/// Bytes that are yet to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Odd> {
        let Some((taken, rest)) = self.0.split_at_checked(count) else {
            let left = self.0.len();
            return Err(Odd::new(format!("takes {count} bytes, and {left} are left")));
        };
        self.0 = rest;
        Ok(taken)
    }

    /// The fields of a structure.
    pub(super) fn body(&mut self) -> Result<Self, Odd> {
        let length = usize::take(self)?;
        self.bytes(length).map(Self)
    }

    /// A field of a structure by its name, or what stands for it where the structure ends before it.
    pub(super) fn field<T: Coded>(&mut self, name: &str) -> Result<T, Odd> {
        let read = if self.0.is_empty() {
            T::absent().ok_or_else(|| Odd::new("is missing"))
        } else {
            T::take(self)
        };
        read.map_err(|odd| odd.within(name))
    }
}

/// Appends a structure with these fields.
pub(super) fn put_body(out: &mut Vec<u8>, fields: impl FnOnce(&mut Vec<u8>)) {
    let mut body = Vec::new();
    fields(&mut body);
    body.len().put(out);
    out.extend_from_slice(&body);
}

impl Coded for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        loop {
            let low = rest.to_le_bytes()[0] & 0x7f;
            rest >>= 7;
            if rest == 0 {
                return out.push(low);
            }
            out.push(low | 0x80);
        }
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
        let mut number: Self = 0;
        for shift in (0..Self::BITS).step_by(7) {
            let byte = input.bytes(1)?[0];
            let low = Self::from(byte & 0x7f);
            let placed = low << shift;
            if placed >> shift != low {
                return Err(Odd::new("is a number of more than 64 bits"));
            }
            number |= placed;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Odd::new("is a number of more than 64 bits"))
    }
}

impl Coded for u32 {
    fn put(&self, out: &mut Vec<u8>) {
        u64::from(*self).put(out);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
        let number = u64::take(input)?;
        Self::try_from(number).map_err(|_| Odd::new(format!("{number} has more than 32 bits")))
    }
}

impl Coded for usize {
    fn put(&self, out: &mut Vec<u8>) {
        u64::try_from(*self).unwrap_or(u64::MAX).put(out);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
        let number = u64::take(input)?;
        Self::try_from(number).map_err(|_| Odd::new(format!("{number} is too large")))
    }
}

impl Coded for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
        match input.bytes(1)?[0] {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Odd::new(format!("{other} is neither 0 nor 1"))),
        }
    }

    fn absent() -> Option<Self> {
        Some(false)
    }
}

impl Coded for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_text(self, out);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
        let body = input.body()?;
        let text = str::from_utf8(body.0).map_err(|_| Odd::new("is no UTF-8"))?;
        Ok(text.to_owned())
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

impl Coded for Arc<str> {
    fn put(&self, out: &mut Vec<u8>) {
        put_text(self, out);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
        String::take(input).map(Self::from)
    }
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    text.len().put(out);
    out.extend_from_slice(text.as_bytes());
}

/// Whole seconds, and nanoseconds beside them.
impl Coded for Duration {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_secs().put(out);
        self.subsec_nanos().put(out);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
        let (seconds, nanos) = (u64::take(input)?, u32::take(input)?);
        if nanos >= 1_000_000_000 {
            return Err(Odd::new(format!("{nanos} ns are more than a second")));
        }
        Ok(Self::new(seconds, nanos))
    }
}

impl<T: Coded> Coded for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
        if bool::take(input)? { T::take(input).map(Some) } else { Ok(None) }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Coded> Coded for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        self.iter().for_each(|item| item.put(out));
    }

    /// Takes memory as items come, and not as a count says: each is a byte at least.
    fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
        let count = usize::take(input)?;
        (0..count).map(|_| T::take(input)).collect::<Result<_, _>>()
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

impl<V: Coded> Coded for ByVm<V> {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        for (id, value) in self {
            id.put(out);
            value.put(out);
        }
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
        let count = usize::take(input)?;
        (0..count).map(|_| Ok((VmId::take(input)?, V::take(input)?))).collect()
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

impl<K: Coded + Ord, V: Coded> Coded for BTreeMap<K, V> {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Odd> {
        let count = usize::take(input)?;
        (0..count).map(|_| Ok((K::take(input)?, V::take(input)?))).collect()
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}
