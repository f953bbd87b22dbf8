//! Compression of answers.

use flate2::{Compress, Compression, FlushCompress, Status};

/// Base-2 logarithm of the window, the largest one.
const WINDOW_BITS: u8 = 15;

/// Compresses the answers of all connections, one after the other. What it needs is allocated for the first one.
#[derive(Debug, Default)]
pub struct Gzip {
    compressor: Option<Box<Compress>>,
    packed: Vec<u8>,
}

/// Capacity that is kept between answers, in bytes.
const KEEP_BYTES: usize = 64 * 1024;

impl Gzip {
    /// The body in the coding `gzip`, with the level of the first call, 2 to 9; `None` if that is not smaller.
    pub fn pack(&mut self, body: &[u8], level: u32) -> Option<&[u8]> {
        let compressor = self
            .compressor
            .get_or_insert_with(|| Box::new(Compress::new_gzip(Compression::new(level.max(2)), WINDOW_BITS)));
        compressor.reset();
        self.packed.clear();
        self.packed.shrink_to(KEEP_BYTES);
        self.packed.reserve_exact(body.len());
        let outcome = compressor.compress_vec(body, &mut self.packed, FlushCompress::Finish);
        (matches!(outcome, Ok(Status::StreamEnd)) && self.packed.len() < body.len()).then_some(&self.packed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn packed_body_is_unpacked_by_others() {
        let mut gzip = Gzip::default();
        for text in ["a".repeat(10_000), "{\"n\":1}".repeat(40), "short short short short short short".to_owned()] {
            let packed = gzip.pack(text.as_bytes(), 6).expect("it is smaller");
            let mut unpacked = String::new();
            flate2::read::GzDecoder::new(packed).read_to_string(&mut unpacked).expect("gzip");
            assert_eq!(unpacked, text);
        }
    }

    #[test]
    fn body_that_does_not_become_smaller_is_not_packed() {
        let mut gzip = Gzip::default();
        let noise: Vec<u8> = (0..=255_u8).map(|byte| byte.wrapping_mul(167) ^ 0x5A).collect();
        assert_eq!(gzip.pack(&noise, 6), None);
        assert_eq!(gzip.pack(b"", 6), None);
        assert!(gzip.pack(&[7; 256], 6).is_some());
    }
}
