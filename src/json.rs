//! JSON that can be shown: nothing in it that a terminal or an editor obeys.

use std::fmt::Write as _;

use serde::Serialize;

/// Characters that change how a terminal or an editor shows others: control characters, marks of direction, separators
/// of lines, and what takes no room.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// One line.
///
/// # Errors
/// The value cannot be serialised.
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    serde_json::to_string(value).map(escaped)
}

/// Many lines, for people.
///
/// # Errors
/// The value cannot be serialised.
pub fn to_string_pretty<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(escaped)
}

/// JSON with hidden characters written as `\uXXXX`. Beyond ASCII there is nothing but text in JSON, and a serialiser has
/// escaped all before the blank: so this needs not know where strings begin and end.
pub(crate) fn escaped(json: String) -> String {
    const fn plain(byte: u8) -> bool {
        byte < 0x7f
    }
    if json.bytes().all(plain) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        // What stands between the values of JSON for people.
        if c == '\n' || !is_hidden(c) {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_hidden_remains_and_the_text_is_the_same(text in any::<String>(), odd in "[\u{7f}-\u{9f}\u{202a}-\u{202e}\u{2066}-\u{2069}\u{61c}\u{200e}\u{e0041}a\"\\\\]*") {
            let text = text + &odd;
            let json = to_string(&text).unwrap();
            prop_assert!(!json.contains(is_hidden), "{json:?}");
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }

    #[test]
    fn text_of_any_language_stays() {
        assert_eq!(to_string("über/日本\u{9b}\u{e0041}").unwrap(), "\"über/日本\\u009b\\udb40\\udc41\"");
        assert_eq!(to_string_pretty(&["\u{7f}"]).unwrap(), "[\n  \"\\u007f\"\n]");
    }
}
