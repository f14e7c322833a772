//! Normalizes text from outside the program and makes it safe to display.
//!
//! This module is pure. A response, a tag or a secret's source can contain any text. That text can be a secret or a
//! terminal escape sequence. Only the functions of this module prepare such text for display.

use std::borrow::Cow;

use uuid::Uuid;

/// The length of a GUID such as `00000000-0000-0000-0000-000000000000`.
const GUID_CHARS: usize = 36;

/// The maximum length of a sign-in name. Entra allows 64 characters before the `@` and 48 after it.
const MAX_SIGN_IN_NAME_CHARS: usize = 113;

/// The maximum length of one scope. The longest known scope is
/// `https://api.partnercenter.microsoft.com/user_impersonation`.
const MAX_SCOPE_CHARS: usize = 128;

/// The maximum number of scopes in one text.
const MAX_SCOPES: usize = 100;

/// `shown` cuts a text after this many characters.
const MAX_SHOWN_CHARS: usize = 128;

/// Characters that are invisible or change how neighboring characters are displayed. Examples are soft hyphens,
/// direction marks, zero-width spaces, line and paragraph separators, and Unicode's annotation and tag characters.
const UNSEEN: [std::ops::RangeInclusive<char>; 9] = [
    '\u{ad}'..='\u{ad}',
    '\u{61c}'..='\u{61c}',
    '\u{180e}'..='\u{180e}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{feff}'..='\u{feff}',
    '\u{fff9}'..='\u{fffb}',
    '\u{e0000}'..='\u{e007f}',
];

/// Decodes UTF-8, or UTF-16 with a byte-order mark, and removes the byte-order mark. Windows PowerShell writes UTF-16
/// when it redirects output with `>`.
pub fn decoded(bytes: &[u8]) -> Option<Cow<'_, str>> {
    let units = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
        if rest.is_empty() { String::from_utf16(&units).ok() } else { None }
    };
    match bytes {
        [0xff, 0xfe, text @ ..] => units(text, u16::from_le_bytes).map(Cow::Owned),
        [0xfe, 0xff, text @ ..] => units(text, u16::from_be_bytes).map(Cow::Owned),
        _ => {
            let text = str::from_utf8(bytes).ok()?;
            Some(Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text)))
        }
    }
}

/// Removes surrounding white space, a byte-order mark and one pair of quotes from a secret or an id. Editors, shells
/// and environment files add such characters.
pub fn bare(text: &str) -> &str {
    let text = trimmed(text);
    let unquoted = ['"', '\''].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote));
    unquoted.map_or(text, trimmed)
}

fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
}

/// Parses a GUID in its usual form and returns it in lower case. Returns `None` for any other text, so that no caller
/// displays a secret as an id.
pub fn guid(text: &str) -> Option<String> {
    (text.len() == GUID_CHARS).then(|| Uuid::try_parse(text).ok())?.map(|id| id.to_string())
}

/// Returns `text` if it has the form of a sign-in name: `name@domain`, with only the characters that Entra allows.
pub fn sign_in_name(text: &str) -> Option<&str> {
    let (name, domain) = text.split_once('@')?;
    let fits = |text: &str, marks: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || marks.contains(c))
    };
    let is_one = text.chars().count() <= MAX_SIGN_IN_NAME_CHARS
        && fits(name, "'.-_!#^~+%&$=")
        && fits(domain, ".-")
        && domain.contains('.');
    is_one.then_some(text)
}

/// Returns the scopes if there are at most 100 and all are well formed. A scope has only letters, digits and `.` `_`
/// `:` `/` `-`.
pub fn scopes(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let fits = |word: &&str| {
        word.len() <= MAX_SCOPE_CHARS
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:/-".contains(&b))
    };
    let fit = (1..=MAX_SCOPES).contains(&words.len()) && words.iter().all(fits);
    fit.then(|| words.join(" "))
}

/// Shortens any text for display and escapes its control characters and invisible characters.
pub fn shown(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", defused(&text[..end])),
        None => defused(text),
    }
}

/// Escapes control characters and invisible characters. The caller limits the length of the text.
pub fn defused(text: &str) -> String {
    let mut defused = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || UNSEEN.iter().any(|range| range.contains(&c)) {
            defused.extend(c.escape_unicode());
        } else {
            defused.push(c);
        }
    }
    defused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_name_has_a_name_and_a_domain_and_nothing_that_a_terminal_acts_on() {
        let long = format!("{}@contoso.com", "a".repeat(200));
        for (text, is_one) in [
            ("dana@contoso.com", true),
            ("o'brien_x.y-z@sub.contoso.onmicrosoft.com", true),
            ("ext_guest#EXT#@contoso.com", true),
            ("dänä@contoso.com", true),
            ("dana", false),
            ("dana@localhost", false),
            ("@contoso.com", false),
            ("dana@", false),
            ("dana smith@contoso.com", false),
            ("dana@contoso.com\u{1b}[2J", false),
            ("a@b@contoso.com", false),
            ("\u{202e}dana@contoso.com", false),
            (long.as_str(), false),
        ] {
            assert_eq!(sign_in_name(text).is_some(), is_one, "{text:?}");
        }
    }

    const ID: &str = "0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab";

    #[test]
    fn white_space_quotes_and_a_byte_order_mark_are_trimmed() {
        for (saved, meant) in [
            ("s3cr3t", "s3cr3t"),
            (" s3cr3t\r\n", "s3cr3t"),
            ("\u{feff}s3cr3t\n", "s3cr3t"),
            ("\"s3cr3t\"", "s3cr3t"),
            ("'s3cr3t'\n\n", "s3cr3t"),
            ("\u{feff}\" s3cr3t \" ", "s3cr3t"),
            ("\"\u{feff}s3cr3t\"", "s3cr3t"),
            // Only one complete pair of quotes is removed.
            ("\"\"s3cr3t\"\"", "\"s3cr3t\""),
            ("\"s3cr3t", "\"s3cr3t"),
            ("s3cr3t'", "s3cr3t'"),
            ("'s3cr3t\"", "'s3cr3t\""),
            ("s3\"cr'3t", "s3\"cr'3t"),
            ("\"", "\""),
            ("\"\"", ""),
            ("\u{feff} \n", ""),
            ("", ""),
        ] {
            assert_eq!(bare(saved), meant, "{saved:?}");
        }
    }

    #[test]
    fn only_a_guid_in_its_usual_form_is_accepted() {
        assert_eq!(guid(&ID.to_uppercase()).as_deref(), Some(ID));
        for other in [
            String::new(),
            "0.AXoA-token".into(),
            ID.replace('-', ""),
            format!("{{{ID}}}"),
            format!("urn:uuid:{ID}"),
            format!("{ID} "),
            format!("{}\u{1b}", &ID[1..]),
            // This text is as long as a GUID, but is not a GUID.
            "abc8Q~0123456789abcdef0123456789abcd".into(),
            "x".repeat(36),
        ] {
            assert_eq!(guid(&other), None, "{other:?}");
        }
    }

    #[test]
    fn scopes_are_words_of_a_bounded_length() {
        for (text, shown) in [
            ("user_impersonation", Some("user_impersonation")),
            (
                " https://api.partnercenter.microsoft.com/user_impersonation  offline_access\topenid ",
                Some("https://api.partnercenter.microsoft.com/user_impersonation offline_access openid"),
            ),
            ("Directory.AccessAsUser.All", Some("Directory.AccessAsUser.All")),
            (
                "api://0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab/x",
                Some("api://0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab/x"),
            ),
            ("", None),
            (" ", None),
            ("ok \u{1b}[2J", None),
            ("ok abc8Q~0123456789abcdef", None),
            ("<b>", None),
            ("größe", None),
            (&"x".repeat(129), None),
            (&"x ".repeat(101), None),
        ] {
            assert_eq!(scopes(text).as_deref(), shown, "{text:?}");
        }
    }

    #[test]
    fn terminal_controls_are_escaped() {
        for (text, told) in [
            ("Contoso Ltd. \"Köln\" \\ O'Brien 株式会社", "Contoso Ltd. \"Köln\" \\ O'Brien 株式会社"),
            ("कंपनी", "कंपनी"),
            ("a\u{1b}[31mb", "a\\u{1b}[31mb"),
            ("a\u{9b}31mb", "a\\u{9b}31mb"),
            ("a\r\n\tb\0\u{7f}", "a\\u{d}\\u{a}\\u{9}b\\u{0}\\u{7f}"),
            ("a\u{202e}b\u{2066}c\u{200b}d\u{feff}", "a\\u{202e}b\\u{2066}c\\u{200b}d\\u{feff}"),
            ("a\u{2028}b\u{e0041}c\u{ad}", "a\\u{2028}b\\u{e0041}c\\u{ad}"),
            ("", ""),
        ] {
            assert_eq!(shown(text), told, "{text:?}");
        }
        let long = shown(&"\u{1b}".repeat(10_000));
        assert_eq!((long.matches("\\u{1b}").count(), long.ends_with('…')), (MAX_SHOWN_CHARS, true));
    }
}
