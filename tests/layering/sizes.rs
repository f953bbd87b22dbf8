//! Sizes of files and functions.

use crate::Violation;
use crate::source::{Source, is_word, item_end, words};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

pub(crate) fn files_are_short(source: &Source) -> Vec<Violation> {
    let lines = source.text.lines().count();
    if lines <= FILE_LINES_MAX {
        return Vec::new();
    }
    let what = format!("src/{}: over {FILE_LINES_MAX} lines", source.path);
    vec![Violation::new(what, format!("src/{}:{lines}: a file over {FILE_LINES_MAX} lines", source.path))]
}

pub(crate) fn functions_are_short(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    for at in words(&source.code, "fn") {
        let rest = source.code[at + 2..].trim_start();
        let name: String = rest.bytes().take_while(|byte| is_word(*byte)).map(char::from).collect();
        if name.is_empty() {
            continue; // the type of a function
        }
        let lines = source.code[at..item_end(&source.code, at)].lines().count();
        if lines > FUNCTION_LINES_MAX {
            let message = format!("{}: `{name}` has {lines} lines, more than {FUNCTION_LINES_MAX}", source.at(at));
            let key = format!("src/{}: `{name}` has more than {FUNCTION_LINES_MAX} lines", source.path);
            found.push(Violation::new(key, message));
        }
    }
    found
}

mod tests {
    use super::*;
    use crate::FileRule;

    fn lines(rule: FileRule, text: &str) -> Vec<usize> {
        rule(&Source::new("base/a.rs", text)).iter().map(Violation::line).collect()
    }

    #[test]
    fn long_file_is_found() {
        assert_eq!(lines(files_are_short, &"\n".repeat(601)), [601]);
        assert_eq!(lines(files_are_short, &"\n".repeat(600)), [0usize; 0]);
    }

    #[test]
    fn long_function_is_found_whatever_its_signature() {
        for signature in [
            "fn a()",
            "fn a() -> [u8; 4]",
            "fn a(bytes: [u8; 2], b: impl Fn([u8; 3]) -> u8) -> ([u8; 4], ())",
            "pub(crate) const unsafe fn a<const N: usize>(\n    b: &[[u8; N]; 2],\n) -> Option<[u8; N]>\nwhere\n    [u8; N]: Sized,",
        ] {
            let with = |lines: usize| format!("\n{signature} {{\n{}}}\nfn b() {{}}", "x();\n".repeat(lines));
            let head = signature.lines().count();
            assert_eq!(lines(functions_are_short, &with(70 - head)), [2], "{signature}");
            assert_eq!(lines(functions_are_short, &with(69 - head)), [0usize; 0], "{signature}");
        }
    }

    #[test]
    fn function_without_body_and_test_code_count_nothing() {
        let many = "x();\n".repeat(90);
        let declared = format!("trait A {{ fn a() -> [u8; 4]; }}\nmod b {{\n{many}}}");
        assert_eq!(lines(functions_are_short, &declared), [0usize; 0]);
        assert_eq!(lines(functions_are_short, &format!("#[cfg(test)] mod t {{ fn a() {{{many}}} }}")), [0usize; 0]);
        assert_eq!(lines(functions_are_short, &format!("type A = fn([u8; 2]);\n{many}")), [0usize; 0]);
    }
}
