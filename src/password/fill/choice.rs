//! Which implementation computes the hashes of this process, and the trial that it has to stand first.
//!
//! A mistake here would be noticed late and dearly: passwords saved under hashes that no other software verifies. So whatever
//! was tested where this was built, the processor and the compiled code at hand are tried once more before the first hash, in a
//! few milliseconds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use argon2::{Algorithm, AssociatedData, Block, Error, Params, ParamsBuilder, Version};

use super::{Implementation, Input};

/// What was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What computes.
    pub implementation: Implementation,
    /// What would have, had it not failed its trial.
    pub rejected: Option<Rejected>,
}

/// An implementation that computes something else than the `argon2` crate does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {name} implementation of Argon2 fails its trial: {why}")]
pub struct Rejected {
    /// The implementation's.
    pub name: &'static str,
    /// What it was tried with, nobody's password.
    pub why: String,
}

/// What this process uses, chosen at the first call.
///
/// Where there are no vector instructions that it knows, this is the crate. A build without optimization takes the crate, which
/// is optimized all the same: vector instructions that are function calls would be a hundred times slower than it.
pub fn choice() -> &'static Choice {
    static CHOICE: OnceLock<Choice> = OnceLock::new();
    CHOICE.get_or_init(|| {
        let fastest = Implementation::available().into_iter().next().filter(|_| !cfg!(debug_assertions));
        choose(fastest.unwrap_or(Implementation::Reference), |implementation| {
            stands_trial(|input, memory, tag| implementation.compute(input, memory, tag))
        })
    })
}

fn choose(preferred: Implementation, trial: impl Fn(Implementation) -> Result<(), String>) -> Choice {
    // A panic is a failure like another.
    let tried = catch_unwind(AssertUnwindSafe(|| trial(preferred))).unwrap_or_else(|_| Err("it panics".to_owned()));
    match tried {
        Ok(()) => Choice { implementation: preferred, rejected: None },
        Err(why) => {
            let rejected = Some(Rejected { name: preferred.name(), why });
            Choice { implementation: Implementation::Reference, rejected }
        }
    }
}

/// The tags of RFC 9106, sections 5.1 to 5.3.
pub(super) const VECTORS: [(Algorithm, [u8; 32]); 3] = [
    (
        Algorithm::Argon2d,
        [
            0x51, 0x2b, 0x39, 0x1b, 0x6f, 0x11, 0x62, 0x97, 0x53, 0x71, 0xd3, 0x09, 0x19, 0x73, 0x42, 0x94, //
            0xf8, 0x68, 0xe3, 0xbe, 0x39, 0x84, 0xf3, 0xc1, 0xa1, 0x3a, 0x4d, 0xb9, 0xfa, 0xbe, 0x4a, 0xcb,
        ],
    ),
    (
        Algorithm::Argon2i,
        [
            0xc8, 0x14, 0xd9, 0xd1, 0xdc, 0x7f, 0x37, 0xaa, 0x13, 0xf0, 0xd7, 0x7f, 0x24, 0x94, 0xbd, 0xa1, //
            0xc8, 0xde, 0x6b, 0x01, 0x6d, 0xd3, 0x88, 0xd2, 0x99, 0x52, 0xa4, 0xc4, 0x67, 0x2b, 0x6c, 0xe8,
        ],
    ),
    (
        Algorithm::Argon2id,
        [
            0x0d, 0x64, 0x0d, 0xf5, 0x8d, 0x78, 0x76, 0x6c, 0x08, 0xc0, 0x37, 0xa3, 0x4a, 0x8b, 0x53, 0xc9, //
            0xd0, 0x1e, 0xf0, 0x45, 0x2d, 0x75, 0xb6, 0x5e, 0xb5, 0x25, 0x20, 0xe9, 0x6b, 0x01, 0xe6, 0x59,
        ],
    ),
];

/// Memory, passes, lanes, bytes of the tag: what the trial goes over, with each algorithm and version. More than one address
/// block in a segment, memory that the lanes do not share out evenly, all three kinds of H'.
const COSTS: [(u32, u32, u32, usize); 4] = [(8, 1, 1, 4), (1_100, 2, 1, 32), (127, 3, 3, 64), (75, 2, 2, 100)];

type Compute<'a> = &'a dyn Fn(&Input<'_>, &mut [Block], &mut [u8]) -> Result<(), Error>;

/// The RFC's vectors, and random passwords under [`COSTS`] as the crate hashes them.
fn stands_trial(compute: impl Fn(&Input<'_>, &mut [Block], &mut [u8]) -> Result<(), Error>) -> Result<(), String> {
    let rfc = params(32, 3, 4, 32, &[4; 12]).map_err(|error| error.to_string())?;
    for (algorithm, expected) in VECTORS {
        let (password, salt, secret) = (&[1; 32], &[2; 16], &[3; 8]);
        let input = Input { algorithm, version: Version::V0x13, params: &rfc, password, salt, secret };
        compared(&compute, &input, &expected)?;
    }
    let mut random = [0; 96];
    // Without random bytes it is tried with these.
    let _filled = aws_lc_rs::rand::fill(&mut random);
    let (password, rest) = random.split_at(40);
    let (salt, secret) = rest.split_at(24);
    for (memory, passes, lanes, tag_bytes) in COSTS {
        let params = params(memory, passes, lanes, tag_bytes, secret).map_err(|error| error.to_string())?;
        for algorithm in [Algorithm::Argon2d, Algorithm::Argon2i, Algorithm::Argon2id] {
            for version in [Version::V0x10, Version::V0x13] {
                let input = Input { algorithm, version, params: &params, password, salt, secret };
                let mut expected = vec![0; tag_bytes];
                let mut memory = vec![Block::new(); params.block_count()];
                let reference = Implementation::Reference.compute(&input, &mut memory, &mut expected);
                reference.map_err(|error| error.to_string())?;
                // The allocator keeps what a process had at once when it started: let that be one of them.
                drop(memory);
                compared(&compute, &input, &expected)?;
            }
        }
    }
    Ok(())
}

fn params(memory: u32, passes: u32, lanes: u32, tag_bytes: usize, data: &[u8]) -> Result<Params, Error> {
    let mut params = ParamsBuilder::new();
    params.m_cost(memory).t_cost(passes).p_cost(lanes).output_len(tag_bytes).data(AssociatedData::new(data)?);
    params.build()
}

fn compared(compute: Compute<'_>, input: &Input<'_>, expected: &[u8]) -> Result<(), String> {
    let mut tag = vec![0; expected.len()];
    // As it may be found: whatever another hash has left.
    let mut memory = vec![Block::new(); input.params.block_count()];
    memory.iter_mut().for_each(|block| block.as_mut().fill(u64::MAX));
    match compute(input, &mut memory, &mut tag) {
        Ok(()) if tag == expected => Ok(()),
        Ok(()) => Err(format!("another tag with {}", told(input))),
        Err(error) => Err(format!("{error}, with {}", told(input))),
    }
}

fn told(input: &Input<'_>) -> String {
    let (params, version) = (input.params, u32::from(input.version));
    format!(
        "{} version {version}, m={}, t={}, p={}",
        input.algorithm,
        params.m_cost(),
        params.t_cost(),
        params.p_cost()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computes rightly, but for a bit where the fault is.
    fn trial_with(fault: impl Fn(&Input<'_>, usize) -> bool) -> Result<(), String> {
        stands_trial(|input, memory, tag| {
            Implementation::Portable.compute(input, memory, tag)?;
            let bytes = tag.len();
            if let Some(last) = tag.last_mut().filter(|_| fault(input, bytes)) {
                *last ^= 1;
            }
            Ok(())
        })
    }

    #[test]
    fn every_implementation_stands_its_trial() {
        for implementation in Implementation::available() {
            let choice =
                choose(implementation, |tried| stands_trial(|input, memory, tag| tried.compute(input, memory, tag)));
            assert_eq!(choice, Choice { implementation, rejected: None });
        }
    }

    #[test]
    fn what_computes_wrongly_is_rejected_and_the_crate_takes_its_place() {
        let wrong = choose(Implementation::Portable, |_| trial_with(|_, _| true));
        assert_eq!(wrong.implementation, Implementation::Reference);
        let why = wrong.rejected.expect("it is wrong").to_string();
        assert_eq!(
            why,
            "the portable implementation of Argon2 fails its trial: another tag with argon2d version 19, m=32, t=3, p=4"
        );
    }

    #[test]
    fn what_is_wrong_in_some_cases_only_is_found_out() {
        assert_eq!(trial_with(|_, _| false), Ok(()));
        assert!(trial_with(|input, _| input.version == Version::V0x10).is_err(), "the old version");
        assert!(trial_with(|input, _| input.algorithm == Algorithm::Argon2i).is_err(), "one algorithm");
        assert!(trial_with(|input, _| input.params.p_cost() == 1).is_err(), "one lane");
        assert!(trial_with(|input, _| input.params.p_cost() == 3).is_err(), "lanes that are not a power of two");
        assert!(trial_with(|input, _| input.params.t_cost() == 1).is_err(), "one pass");
        assert!(trial_with(|input, _| input.params.m_cost() > 1_024).is_err(), "several address blocks");
        assert!(trial_with(|_, bytes| bytes > 64).is_err(), "long tags");
    }

    #[test]
    fn what_fails_or_panics_is_rejected() {
        let failing = choose(Implementation::Portable, |_| stands_trial(|_, _, _| Err(Error::MemoryTooLittle)));
        assert_eq!(failing.implementation, Implementation::Reference);
        let panicking = choose(Implementation::Portable, |_| stands_trial(|_, _, _| panic!("a bug")));
        assert_eq!(panicking.implementation, Implementation::Reference);
        assert_eq!(panicking.rejected.map(|rejected| rejected.why), Some("it panics".to_owned()));
    }

    #[test]
    fn this_process_has_chosen_something_that_nothing_was_wrong_with() {
        assert_eq!(choice().rejected, None);
    }
}
