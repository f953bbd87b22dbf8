//! The participant that a datagram is from, by what stands in it.

/// The first bytes of STUN's binding request (RFC 8489 §5).
const BINDING_REQUEST: [u8; 2] = [0, 1];

/// The type of the attribute USERNAME.
const USERNAME: [u8; 2] = [0, 6];

const HEADER_BYTES: usize = 20;

/// Whether a datagram is a STUN binding request, by its first bytes.
pub(super) fn is_binding_request(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER_BYTES && datagram.starts_with(&BINDING_REQUEST)
}

/// The receiver's own name in the user name of a STUN binding request (RFC 8445 §7.2.2).
pub(super) fn ufrag_of(request: &[u8]) -> Option<&str> {
    let mut rest = request.get(HEADER_BYTES..)?;
    while let Some((head, after)) = rest.split_at_checked(4) {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = after.get(..length)?;
        if head[..2] == USERNAME {
            return std::str::from_utf8(value).ok()?.split(':').next();
        }
        rest = after.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(user: &str) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[1] = 1;
        // PRIORITY, which comes first.
        bytes.extend_from_slice(&[0, 0x24, 0, 4, 1, 2, 3, 4, 0, 6]);
        bytes.extend_from_slice(&(user.len() as u16).to_be_bytes());
        bytes.extend_from_slice(user.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn binding_request_names_its_receiver() {
        assert_eq!(ufrag_of(&request("ours:theirs")), Some("ours"));
        assert_eq!(ufrag_of(&request("ours")), Some("ours"));
        assert_eq!(ufrag_of(&request("ours:theirs")[..30]), None);
        assert!(
            is_binding_request(&request("a:b")) && !is_binding_request(&[0, 1]) && !is_binding_request(&[0x80; 40])
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let [first, second, ..] = &mut *bytes {
                (*first, *second) = (0, 1);
            }
            let _ = ufrag_of(&bytes).map(str::len);
        }
    }
}
