//! Each implementation against the RFC's vectors, and against the `argon2` crate on whatever can be asked of it.

use argon2::{AssociatedData, ParamsBuilder};
use proptest::collection::vec;
use proptest::prelude::*;

use super::choice::VECTORS;
use super::*;

/// All but the crate.
fn ours() -> Vec<Implementation> {
    let ours = Implementation::available().into_iter().filter(|other| *other != Implementation::Reference).collect();
    println!("tried: {ours:?}");
    ours
}

fn params(memory: u32, passes: u32, lanes: u32, tag_bytes: usize, data: &[u8]) -> Params {
    let mut params = ParamsBuilder::new();
    let data = AssociatedData::new(data).expect("at most 32 bytes");
    params.m_cost(memory).t_cost(passes).p_cost(lanes).output_len(tag_bytes).data(data);
    params.build().expect("valid parameters")
}

/// In memory that is not clean.
fn hashed(by: Implementation, input: &Input<'_>, tag_bytes: usize) -> Result<Vec<u8>, Error> {
    let mut memory = vec![Block::new(); input.params.block_count() + 3];
    memory.iter_mut().enumerate().for_each(|(at, block)| block.as_mut().fill(u64::MAX / (at as u64 + 1)));
    let mut tag = vec![0; tag_bytes];
    by.compute(input, &mut memory, &mut tag).map(|()| tag)
}

#[test]
fn r52_the_vectors_of_rfc_9106_come_out_of_every_implementation() {
    let params = params(32, 3, 4, 32, &[4; 12]);
    for (algorithm, expected) in VECTORS {
        for implementation in Implementation::available() {
            let (password, salt, secret) = (&[1; 32], &[2; 16], &[3; 8]);
            let input = Input { algorithm, version: Version::V0x13, params: &params, password, salt, secret };
            let tag = hashed(implementation, &input, 32);
            assert_eq!(tag.as_deref(), Ok(expected.as_slice()), "{implementation:?} {algorithm}");
        }
    }
}

#[test]
fn r52_a_hash_under_owasps_parameters_is_the_crates() {
    let params = params(19 * 1024, 2, 1, 32, b"");
    let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
    let input = Input {
        algorithm,
        version,
        params: &params,
        password: b"correct horse",
        salt: b"sixteen bytes at",
        secret: b"",
    };
    let expected = hashed(Implementation::Reference, &input, 32).expect("a hash");
    // One is enough where each takes a second; they all agree on everything smaller.
    let implementation = ours().into_iter().next().expect("at least one");
    assert_eq!(hashed(implementation, &input, 32), Ok(expected), "{implementation:?}");
}

#[test]
fn what_the_crate_refuses_is_refused_alike() {
    let (long, short) = (params(8, 1, 1, 32, b""), params(8, 1, 1, 16, b""));
    let any = Params::new(8, 1, 1, None).expect("valid parameters");
    for implementation in ours() {
        for (params, salt, tag_bytes) in [
            (&long, &b"seven b"[..], 32),
            (&long, b"", 32),
            (&long, b"eight by", 31),
            (&short, b"eight by", 17),
            (&any, b"eight by", 3),
        ] {
            let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
            let input = Input { algorithm, version, params, password: b"", salt, secret: b"" };
            let expected = hashed(Implementation::Reference, &input, tag_bytes);
            assert!(expected.is_err());
            assert_eq!(hashed(implementation, &input, tag_bytes), expected, "{implementation:?} {tag_bytes}");
            let mut memory = [Block::new(); 7];
            let (salt, mut tag) = (b"eight by", vec![0; 32]);
            let refused = implementation.compute(&Input { params: &long, salt, ..input }, &mut memory, &mut tag);
            assert_eq!(refused, Err(Error::MemoryTooLittle));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn r52_every_implementation_agrees_with_the_crate(
        algorithm in prop_oneof![Just(Algorithm::Argon2d), Just(Algorithm::Argon2i), Just(Algorithm::Argon2id)],
        version in prop_oneof![Just(Version::V0x10), Just(Version::V0x13)],
        (lanes, more, passes) in (1_u32..=4, 0_u32..300, 1_u32..=4),
        tag_bytes in prop_oneof![4_usize..=64, 65_usize..300],
        (password, salt) in (vec(any::<u8>(), 0..200), vec(any::<u8>(), 8..200)),
        (secret, data) in (vec(any::<u8>(), 0..100), vec(any::<u8>(), 0..=32)),
    ) {
        let params = params(8 * lanes + more, passes, lanes, tag_bytes, &data);
        let input = Input { algorithm, version, params: &params, password: &password, salt: &salt, secret: &secret };
        let expected = hashed(Implementation::Reference, &input, tag_bytes);
        prop_assert!(expected.is_ok());
        for implementation in Implementation::available() {
            prop_assert_eq!(hashed(implementation, &input, tag_bytes), expected.clone(), "{:?}", implementation);
        }
    }
}

/// Segments of more than one address block, which small memories do not have.
#[test]
fn r52_large_segments_agree_with_the_crate() {
    for (algorithm, memory, lanes) in
        [(Algorithm::Argon2i, 1_100, 1), (Algorithm::Argon2id, 2_100, 2), (Algorithm::Argon2d, 2_100, 2)]
    {
        let params = params(memory, 1, lanes, 32, b"");
        let input = Input {
            algorithm,
            version: Version::V0x13,
            params: &params,
            password: b"p",
            salt: b"salt and more",
            secret: b"",
        };
        let expected = hashed(Implementation::Reference, &input, 32);
        for implementation in ours() {
            assert_eq!(hashed(implementation, &input, 32), expected, "{implementation:?} {algorithm}");
        }
    }
}

#[test]
fn every_word_has_a_place_of_its_own_and_the_first_lies_first() {
    fn places<T: boundary::Tile>() -> Vec<usize> {
        (0..WORDS).map(T::place).collect()
    }
    #[cfg(target_arch = "x86_64")]
    let all = [places::<portable::Tile>(), places::<avx2::Tile>(), places::<avx512::Tile>()];
    #[cfg(not(target_arch = "x86_64"))]
    let all = [places::<portable::Tile>()];
    for mut places in all {
        assert_eq!(places[0], 0);
        places.sort_unstable();
        assert_eq!(places, (0..WORDS).collect::<Vec<_>>());
    }
}
