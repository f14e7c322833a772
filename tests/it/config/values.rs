//! Tests the different forms in which people type values. Perennial accepts a value if its meaning is clear. Perennial
//! rejects any other value, and reports the reason and the right form.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use perennial::config::Config;

use super::{CANARY, SMALLEST, keys, load, load_with};

/// Returns the smallest configuration, with `line` instead of the line that begins with `key`.
fn with(key: &str, line: &str) -> String {
    let replaced = |text: &str| if text.trim().starts_with(key) { line.to_owned() } else { text.to_owned() };
    SMALLEST.lines().map(replaced).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_vault_has_one_address_however_it_is_written() {
    for url in [
        "https://contoso.vault.azure.net",
        "https://contoso.vault.azure.net/",
        "https://Contoso.Vault.Azure.Net",
        "HTTPS://contoso.vault.azure.net",
        "https://contoso.vault.azure.net.",
        "https://contoso.vault.azure.net:443/",
    ] {
        let config = load(&with("url", &format!("url = {url:?}"))).expect(url);

        assert_eq!(config.vault.url.as_deref(), Some("https://contoso.vault.azure.net"), "{url}");
    }
}

#[test]
fn a_value_that_cannot_work_is_rejected_with_the_right_form() {
    for (key, value, problem, told) in [
        ("url", "https://c4n4ry.privatelink.vaultcore.azure.net", "vault.url", "the private endpoint"),
        (
            "url",
            "https://c4n4ry.PrivateLink.VaultCore.UsGovCloudApi.net.",
            "vault.url",
            "the private endpoint",
        ),
        ("url", "https://c4n4ry.vaultcore.azure.cn", "vault.url", "https://NAME.vault.azure.net"),
        ("url", "https://c4n4ry.vault.azure.net/secrets/x", "vault.url", "without a path"),
        ("tenant_id", "00000000-0000-0000-0000-000000000000", "token[0].tenant_id", "is a placeholder"),
        ("client_id", "00000000-0000-0000-0000-000000000000", "token[0].client_id", "is a placeholder"),
        ("tenant_id", "c4n4ry", "token[0].tenant_id", "the tenant's id or one of its domains"),
        ("client_id", "c4n4ry", "token[0].client_id", "must be a GUID"),
    ] {
        let problems = load(&with(key, &format!("{key} = {value:?}"))).expect_err(value);

        assert_eq!(keys(&problems), [problem], "{value}");
        let shown = problems.to_string();
        assert!(shown.contains(told) && !shown.to_lowercase().contains(CANARY), "{shown}");
    }
}

#[test]
fn a_proxy_that_cannot_be_used_is_a_mistake() {
    for good in
        ["", "http://127.0.0.1:8080", "https://user:pass@proxy.example", "proxy.example:3128", "[::1]:1"]
    {
        for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            load_with(SMALLEST, &[(name, good)]).unwrap_or_else(|problems| panic!("{good}: {problems}"));
        }
    }
    for bad in [
        "\"http://c4n4ry:8080\"",
        "'http://c4n4ry:8080'",
        "http://",
        "http://c4n4ry host:1",
        "socks5://c4n4ry:1080",
        "http:c4n4ry:80:90",
        "c4n4ry:port",
    ] {
        for name in ["HTTPS_PROXY", "all_proxy"] {
            let problems = load_with(SMALLEST, &[(name, bad)]).expect_err(bad);

            assert_eq!(keys(&problems), [name], "{bad}");
            assert!(!problems.to_string().contains(CANARY), "{problems}");
        }
    }
}

#[test]
fn a_variable_that_is_not_utf_8_is_a_mistake_and_not_ignored() {
    let file = temporary("override.toml", SMALLEST.as_bytes());
    let odd = |name: &str| (OsString::from(name), OsString::from_vec(b"https://c4n4ry\xff".to_vec()));

    let env = [odd("PERENNIAL__VAULT__URL"), odd("UNRELATED")].into_iter();
    let problems = Config::load(&file, env).expect_err("not text");

    assert_eq!(keys(&problems), ["PERENNIAL__VAULT__URL"]);
    assert!(problems.to_string().ends_with("must be text in UTF-8"), "{problems}");
}

#[test]
fn a_file_is_read_in_the_encodings_that_editors_write() {
    let utf_16 = |mark: &[u8], bytes: fn(u16) -> [u8; 2]| {
        mark.iter().copied().chain(SMALLEST.encode_utf16().flat_map(bytes)).collect::<Vec<u8>>()
    };
    for (name, content) in [
        ("crlf", SMALLEST.replace('\n', "\r\n").into_bytes()),
        ("utf-8-mark", format!("\u{feff}{SMALLEST}").into_bytes()),
        ("utf-16-le", utf_16(&[0xff, 0xfe], u16::to_le_bytes)),
        ("utf-16-be", utf_16(&[0xfe, 0xff], u16::to_be_bytes)),
    ] {
        let file = temporary(name, &content);

        let config =
            Config::load(&file, std::iter::empty()).unwrap_or_else(|problems| panic!("{name}: {problems}"));

        assert_eq!(config.tokens.len(), 1, "{name}");
    }
}

#[test]
fn only_a_regular_file_is_a_configuration() {
    let pipe = Path::new(env!("CARGO_TARGET_TMPDIR")).join("configuration-pipe");
    let _absent = std::fs::remove_file(&pipe);
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let latin_1 = temporary("latin-1", b"# caf\xe9\n");

    for (path, told) in [
        (pipe.as_path(), "is not a regular file"),
        (Path::new("/dev/zero"), "is not a regular file"),
        (Path::new("/"), "is not a regular file"),
        (latin_1.as_path(), "is not text in UTF-8"),
    ] {
        let problems = Config::load(path, std::iter::empty()).expect_err("no configuration");

        assert!(problems.to_string().ends_with(told), "{problems}");
    }
}

/// The message about a TOML error never quotes the file, regardless of where a secret is in the file.
#[test]
fn a_toml_error_has_a_reason_and_no_text_of_the_file() {
    for (text, reason) in [
        ("[vault]\nurl = \"c4n4ry\"\n[token]\n[vault]\n", "line 4, column 2: duplicate key `vault`"),
        ("[vault]\nurl = \"c4n4ry\"\nurl = \"c4n4ry\"\n", "line 3, column 1: duplicate key `url`"),
        ("c4n4ry = 1\nc4n4ry = 2\n", "line 2, column 1: duplicate key"),
        ("[c4n4ry]\n[c4n4ry]\n", "line 2, column 2: duplicate key"),
        ("[vault]\nurl = c4n4ry\n", "line 2, column 7: string values must be quoted"),
        ("[vault]\nurl = \"c4n4ry\n", "line 2, column "),
        ("[vault]\nurl = \"c4n4ry\\q\"\n", "line 2, column "),
        ("[vault\nurl = \"c4n4ry\"\n", "line 1, column "),
        ("vault = \"c4n4ry\"\n[vault]\nurl = 1\n", "line 2, column "),
        ("vault = \"c4n4ry\"\nvault.c4n4ry = 1\n", "line 2, column "),
        ("= \"c4n4ry\"\n", "line 1, column "),
        ("c4n4ry\n", "line 1, column "),
        ("x = 2026-13-45Tc4n4ry\n", "line 1, column "),
        ("x = 0xc4n4ry\n", "line 1, column "),
        ("x = [1, c4n4ry\n", "line 1, column "),
        ("x = { c4n4ry = 1, c4n4ry = 2 }\n", "line 1, column "),
    ] {
        let shown = load(text).expect_err(text).to_string();

        assert!(shown.contains("is not valid TOML at "), "{shown}");
        assert!(shown.contains(reason), "{text:?}: {shown}");
        let (_, why) = shown.split_once("column ").expect("a column");
        assert!(why.split_once(": ").is_some_and(|(_, why)| why.len() > 5), "no reason: {shown}");
        assert!(!shown.contains(CANARY), "{shown}");
    }
}

fn temporary(name: &str, content: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("values-{name}"));
    std::fs::write(&path, content).expect("writable");
    path
}
