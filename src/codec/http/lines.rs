//! A head's header lines, as an index into the bytes they came in: small, without a destructor, nothing allocated.

use std::fmt;

use super::head::HEADERS_MAX;

/// The header lines of one head whose grammar `httparse` has checked.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a> {
    /// The head, from its request line on.
    text: &'a [u8],
    /// Where in `text` each line starts; behind the last one, where the empty line starts.
    starts: [u32; HEADERS_MAX + 1],
    count: usize,
}

impl<'a> Lines<'a> {
    /// Indexes the headers `httparse` found in `text`, which ends with the head's empty line. `None` when a line ends in
    /// a bare LF: `httparse` reads that as a line end too, and behind a proxy that does not, it hides a request in a
    /// header. Within a line it lets no LF pass.
    pub(super) fn index(text: &'a [u8], headers: &[httparse::Header<'a>]) -> Option<Self> {
        let count = headers.len();
        let mut starts = [0; HEADERS_MAX + 1];
        for (start, header) in starts.iter_mut().zip(headers) {
            *start = (header.name.as_ptr().addr() - text.as_ptr().addr()) as u32;
        }
        let (rest, b"\r\n") = text.split_last_chunk::<2>()? else {
            return None;
        };
        starts[count] = rest.len() as u32;
        let follows_line = |&start: &u32| text[..start as usize].ends_with(b"\r\n");
        let lines_end_in_crlf = !text.starts_with(b"\n") && starts[..=count].iter().all(follows_line);
        lines_end_in_crlf.then_some(Self { text, starts, count })
    }

    /// The values under a name, in any case, without surrounding white space.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter_map(move |line| {
            let (start, rest) = line.split_at_checked(name.len())?;
            let value = rest.strip_prefix(b":")?;
            let is_same = start.eq_ignore_ascii_case(name.as_bytes());
            is_same.then(|| value.trim_ascii())
        })
    }

    /// Names as sent and values without surrounding white space, in order.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.iter().filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            let name = str::from_utf8(&line[..colon]).ok()?;
            Some((name, line[colon + 1..].trim_ascii()))
        })
    }

    /// Whole lines, CR LF included.
    fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        let text = self.text;
        let bounds = self.starts[..=self.count].windows(2);
        bounds.map(move |bounds| &text[bounds[0] as usize..bounds[1] as usize])
    }
}

impl fmt::Debug for Lines<'_> {
    /// Names only: values may be secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.pairs().map(|(name, _)| name);
        formatter.debug_list().entries(names).finish()
    }
}
