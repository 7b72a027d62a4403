//! A file is short enough to be read at one sitting.

use super::Finding;
use super::tree::{File, Tree};

const MANY: usize = 401;
const TOO_MANY: usize = 801;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.files.iter().filter(|file| file.is_rust() && !file.is_tests()).filter_map(check_file).collect()
}

fn check_file(file: &File) -> Option<Finding> {
    let lines = lines_without_tests(&file.text);
    let what =
        format!("{lines} lines without tests; about 120 are usual, {MANY} are many, {TOO_MANY} too many");
    match lines {
        TOO_MANY.. => Some(Finding::wrong(&file.path, what)),
        MANY.. => Some(Finding::warning(&file.path, what)),
        _ => None,
    }
}

/// Tests stand last: everything from the test module on is theirs.
fn lines_without_tests(text: &str) -> usize {
    let lines: Vec<_> = text.lines().collect();
    let opens_tests = |pair: &[&str]| {
        pair[0].starts_with("#[cfg(test)]") && pair[1].starts_with("mod ") && pair[1].ends_with('{')
    };
    lines.windows(2).position(opens_tests).unwrap_or(lines.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, lines: usize, test_lines: usize) -> Vec<Finding> {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    // a test\n".repeat(test_lines));
        check(&Tree::sample(&[(path, &("// code\n".repeat(lines) + &tests))]))
    }

    #[test]
    fn a_long_file_is_mentioned_and_a_longer_one_refused() {
        for (path, lines, test_lines, expected) in [
            ("crates/a/src/b.rs", 400, 900, None),
            ("crates/a/src/b.rs", 401, 0, Some(false)),
            ("crates/a/src/b.rs", 801, 0, Some(true)),
            ("crates/a/src/b/tests.rs", 801, 0, None),
            ("docs/long.md", 801, 0, None),
        ] {
            let found = findings(path, lines, test_lines).first().map(|finding| finding.wrong);
            assert_eq!(found, expected, "{path} with {lines} lines and {test_lines} of tests");
        }
    }
}
