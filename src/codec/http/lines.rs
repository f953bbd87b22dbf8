//! Index of a head's header lines: no allocation, no destructor.

use std::fmt;

use super::head::HEADERS_MAX;

/// Header lines of a head whose grammar `httparse` has checked.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a> {
    /// The head, starting with its request line.
    text: &'a [u8],
    /// Offsets in `text` of the lines, and of the empty line after them.
    starts: [u32; HEADERS_MAX + 1],
    count: usize,
}

impl<'a> Lines<'a> {
    /// Indexes the headers that `httparse` found in `text`, which ends with the empty line. `None` when a line ends in
    /// a bare LF: `httparse` accepts that as a line end, and behind a proxy that does not it would hide a request in a
    /// header. `httparse` refuses LF within a line.
    pub(super) fn index(text: &'a [u8], headers: &[httparse::Header<'a>]) -> Option<Self> {
        let count = headers.len();
        let mut starts = [0; HEADERS_MAX + 1];
        for (start, header) in starts.iter_mut().zip(headers) {
            let offset = header.name.as_ptr().addr() - text.as_ptr().addr();
            debug_assert!(offset < text.len(), "invariant: a header's name is a part of the head");
            *start = offset as u32;
        }
        let rest = text.strip_suffix(b"\r\n")?;
        starts[count] = rest.len() as u32;
        let follows_line = |&start: &u32| text[..start as usize].ends_with(b"\r\n");
        let lines_end_in_crlf = !text.starts_with(b"\n") && starts[..=count].iter().all(follows_line);
        lines_end_in_crlf.then_some(Self { text, starts, count })
    }

    /// Values of a header, case-insensitive, trimmed.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter_map(move |line| {
            let (start, rest) = line.split_at_checked(name.len())?;
            let value = rest.strip_prefix(b":")?;
            let is_same = start.eq_ignore_ascii_case(name.as_bytes());
            is_same.then(|| value.trim_ascii())
        })
    }

    /// Names as sent and trimmed values, in order.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.iter().filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            let name = str::from_utf8(&line[..colon]).ok()?;
            Some((name, line[colon + 1..].trim_ascii()))
        })
    }

    /// Complete lines, with CR LF.
    fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        let text = self.text;
        let bounds = self.starts[..=self.count].windows(2);
        bounds.map(move |bounds| &text[bounds[0] as usize..bounds[1] as usize])
    }
}

impl fmt::Debug for Lines<'_> {
    /// Names only, as values may be secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.pairs().map(|(name, _)| name);
        formatter.debug_list().entries(names).finish()
    }
}
