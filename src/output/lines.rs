//! Buffered lines, written whole: after a failed write the next line starts on a line of its own.

use std::io::{self, Write};

use super::Trouble;

/// Bytes that are gathered before they are written.
const ENOUGH: usize = 256 * 1024;
/// Under load only whole pages are written: a file's cache takes them faster than parts.
const PAGE: u64 = 4096;

#[derive(Debug)]
pub(super) struct Lines<W> {
    writer: W,
    buffer: Vec<u8>,
    /// Where each line ends, and whether its loss counts.
    ends: Vec<(usize, bool)>,
    /// The output ends in the middle of a line that will not be finished.
    torn: bool,
    /// Bytes written so far.
    position: u64,
}

impl<W: Write> Lines<W> {
    pub(super) fn new(writer: W) -> Self {
        Self { writer, buffer: Vec::with_capacity(ENOUGH + 4096), ends: vec![], torn: false, position: 0 }
    }

    pub(super) fn writer(&self) -> &W {
        &self.writer
    }

    /// Where the text of the next event goes.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        if std::mem::take(&mut self.torn) {
            self.buffer.push(b'\n');
        }
        &mut self.buffer
    }

    /// A line was appended to the buffer; `event`: its loss counts. Whether it is time to flush.
    pub(super) fn added(&mut self, event: bool) -> bool {
        self.ends.push((self.buffer.len(), event));
        self.buffer.len() >= ENOUGH
    }

    /// Writes everything.
    pub(super) fn flush(&mut self) -> Result<(), Trouble> {
        self.write(self.buffer.len())
    }

    /// Writes up to the last whole page.
    pub(super) fn spill(&mut self) -> Result<(), Trouble> {
        let end = self.position + self.buffer.len() as u64;
        let part = usize::try_from(end % PAGE).unwrap_or(0);
        self.write(self.buffer.len().saturating_sub(part))
    }

    fn write(&mut self, length: usize) -> Result<(), Trouble> {
        let mut written = 0;
        let error = loop {
            if written == length {
                break None;
            }
            match self.writer.write(&self.buffer[written..length]) {
                Ok(0) => break Some(io::ErrorKind::WriteZero.into()),
                Ok(n) => written += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break Some(e),
            }
        };
        self.position += written as u64;
        let Some(error) = error else {
            self.buffer.drain(..written);
            self.ends.retain(|&(end, _)| end > written);
            self.ends.iter_mut().for_each(|(end, _)| *end -= written);
            return Ok(());
        };
        let lost = self.unwritten(written);
        self.torn = if written == 0 { self.torn } else { self.buffer[written - 1] != b'\n' };
        self.buffer.clear();
        self.ends.clear();
        match error.kind() {
            io::ErrorKind::BrokenPipe => Err(Trouble::Closed { events: lost }),
            _ => Err(Trouble::Failed { events: lost, error }),
        }
    }

    /// Events of which the end is not among the first `written` bytes.
    fn unwritten(&self, written: usize) -> u64 {
        self.ends.iter().filter(|&&(end, event)| event && end > written).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `room` bytes, then fails as a full disk does.
    struct Disk {
        held: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.room - self.held.len());
            if n == 0 {
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            self.held.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_loses_whole_events_and_tears_no_later_line() {
        let mut lines = Lines::new(Disk { held: vec![], room: 7 });
        for text in [b"one\n", b"two\n", b"six\n"] {
            lines.buffer().extend_from_slice(text);
            assert!(!lines.added(true));
        }
        let Err(Trouble::Failed { events, .. }) = lines.flush() else { panic!("the disk was full") };
        assert_eq!(events, 2);
        lines.writer.room = 100;
        lines.buffer().extend_from_slice(b"ten\n");
        assert!(!lines.added(true));
        assert!(lines.flush().is_ok());
        assert_eq!(lines.writer.held, b"one\ntwo\nten\n");
    }

    #[test]
    fn a_gone_reader_is_a_clean_end() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut lines = Lines::new(Gone);
        lines.buffer().push(b'\n');
        assert!(!lines.added(true));
        assert!(matches!(lines.flush(), Err(Trouble::Closed { events: 1 })));
    }
}
