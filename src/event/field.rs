//! A value that an event may have.

/// A value of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<T> {
    /// It has this value.
    Known(T),
    /// It has one, which is not known.
    Unknown,
    /// Events of this kind have none.
    Absent,
}

impl<T> Field<T> {
    pub(super) fn of(value: Option<T>) -> Self {
        value.map_or(Self::Unknown, Self::Known)
    }
}
