//! What stands under PATH, and what of it stays where there is little room: names of files first, then what became of them,
//! then what an operation says beside.

use crate::event::{self, Text};
use crate::output::text::{cut, fit, quoted, shortest, width};

#[derive(Debug)]
enum Part {
    /// A path, behind this.
    Path(&'static str, String),
    /// What is true of the file: it stays whole or goes.
    Mark(&'static str),
    /// What the operation says beside: it is cut at its end.
    Note(String),
}

/// Less of a note says nothing: a blank, two characters, and that it was cut.
const NOTE_MIN: usize = 4;

impl Part {
    fn width(&self) -> usize {
        match self {
            Self::Path(lead, path) => width(lead) + width(path),
            Self::Mark(mark) => 1 + width(mark),
            Self::Note(note) => 1 + width(note),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Shown(Vec<Part>);

impl Shown {
    /// Names in quotes where they need them.
    pub(super) fn new(parts: Vec<event::Part<'_>>) -> Self {
        let part = |part| match part {
            event::Part::Path(lead, path) => Part::Path(lead, name(path)),
            event::Part::Words(words) => Part::Path("", words.into_owned()),
            event::Part::Mark(mark) => Part::Mark(mark),
            event::Part::Note(note) => Part::Note(note),
            event::Part::Quoted(note) => Part::Note(name(note)),
        };
        let empty = |part: &Part| matches!(part, Part::Note(note) if note.is_empty());
        Self(parts.into_iter().map(part).filter(|part| !empty(part)).collect())
    }

    /// In so many columns; `None`: whole.
    pub(super) fn fit(&self, room: Option<usize>) -> String {
        let mut widths: Vec<usize> = self.0.iter().map(Part::width).collect();
        if let Some(room) = room.filter(|&room| widths.iter().sum::<usize>() > room) {
            widths = self.share(room);
        }
        let mut out = String::new();
        for (part, columns) in self.0.iter().zip(widths).filter(|&(_, columns)| columns > 0) {
            match part {
                Part::Path(lead, path) => {
                    let path = fit(path, columns.saturating_sub(width(lead)));
                    out += &cut(&format!("{lead}{path}"), columns);
                }
                Part::Mark(mark) => {
                    out.push(' ');
                    out += mark;
                }
                Part::Note(note) => {
                    out.push(' ');
                    out += &cut(note, columns - 1);
                }
            }
        }
        out
    }

    /// Columns of each part, fewer than they want.
    fn share(&self, room: usize) -> Vec<usize> {
        let mut shares = vec![0; self.0.len()];
        let mut left = room;
        // Paths with nothing but their beginnings and last names, by turns where not even these fit.
        let mut paths: Vec<_> = self
            .0
            .iter()
            .enumerate()
            .filter_map(|(i, part)| match part {
                Part::Path(lead, path) => Some((width(lead) + shortest(path), i)),
                _ => None,
            })
            .collect();
        paths.sort_unstable();
        for (n, &(least, i)) in paths.iter().enumerate() {
            shares[i] = least.min(left / (paths.len() - n));
            left -= shares[i];
        }
        let take = |share: &mut usize, want: usize, least: usize, left: &mut usize| {
            if *left >= least {
                let more = want.min(*left);
                *share += more;
                *left -= more;
            }
        };
        for (part, share) in self.0.iter().zip(&mut shares) {
            if let Part::Mark(_) = part {
                take(share, part.width(), part.width(), &mut left);
            }
        }
        for (part, share) in self.0.iter().zip(&mut shares) {
            if let Part::Note(_) = part {
                take(share, part.width(), part.width().min(NOTE_MIN), &mut left);
            }
        }
        for (part, share) in self.0.iter().zip(&mut shares) {
            if let Part::Path(..) = part {
                take(share, part.width() - *share, 0, &mut left);
            }
        }
        shares
    }
}

/// A name of the program's or the kernel's, or a dash.
fn name(text: Option<&Text>) -> String {
    text.map_or_else(|| "-".to_owned(), |t| quoted(&t.text()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Shown {
        let path = Part::Path("", "/tmp/some/work/d/a".to_owned());
        Shown(vec![path, Part::Note("O_RDWR|O_CREAT".to_owned()), Part::Mark("(created)")])
    }

    #[test]
    fn the_name_stays_longest_then_what_became_of_the_file() {
        let fit = |columns| open().fit(Some(columns));
        assert_eq!(open().fit(None), "/tmp/some/work/d/a O_RDWR|O_CREAT (created)");
        assert_eq!(fit(43), open().fit(None));
        assert_eq!(fit(40), "/tmp/…/work/d/a O_RDWR|O_CREAT (created)");
        assert_eq!(fit(28), "/tmp/…/a O_RDWR|O… (created)");
        assert_eq!(fit(20), "/tmp/…/d/a (created)");
        assert_eq!(fit(12), "/tmp/…/a O_…");
        assert_eq!(fit(8), "/tmp/…/a");
        assert_eq!(fit(4), "…/a");
        assert_eq!(fit(0), "");
    }

    #[test]
    fn two_paths_share_the_room() {
        let rename = Shown(vec![Part::Path("", "/etc/a/b/shadow".to_owned()), Part::Path(" -> ", "/tmp/x".to_owned())]);
        assert_eq!(rename.fit(Some(24)), "/etc/…/shadow -> /tmp/x");
        assert_eq!(rename.fit(Some(20)), "…/shadow -> /tmp/x");
        assert!(rename.fit(Some(12)).ends_with('x'));
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_wider_than_its_room(a in "[/a日 ]{0,30}", b in "[/a\u{301}]{0,30}", note in ".{0,9}", room in 0usize..70) {
            let shown = Shown(vec![Part::Path("", a), Part::Mark("(deleted)"), Part::Path(" <- ", b), Part::Note(note)]);
            proptest::prop_assert!(width(&shown.fit(Some(room))) <= room);
        }
    }
}
