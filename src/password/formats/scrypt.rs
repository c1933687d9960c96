//! scrypt (RFC 7914) in the spellings of passlib, Ory Kratos, werkzeug and Django; Firebase's uses it too.
//!
//! Computed in the hash thread's own memory, as Argon2 is, so that it is bounded and that memory which cannot be had is an answer and not
//! an abort (R54, R55): that is why it is computed here, and not by a crate that allocates for itself. The rows of Salsa20's matrix are
//! kept as its diagonals from beginning to end, which four lanes of a vector compute at once.

use std::num::NonZeroU32;

use argon2::Block;
use aws_lc_rs::pbkdf2;
use zeroize::Zeroizing;

use super::text::{self, EITHER, HexCase, PADDED, UNPADDED};
use super::{
    About, Arena, Format, MAX_DIGEST_BYTES, MIN_DIGEST_BYTES, NoAnswer, Scheme, Stored, Strength, Terms, Unusable,
    Wraps, within,
};

pub(super) const PHC: Format = Format {
    about: About {
        name: "scrypt",
        made_by: "passlib; Ory Kratos (`ln` is N there)",
        shape: "$scrypt$ln=16,r=8,p=1$SALT$HASH",
        bounded_by: "memory_kib, scrypt_kib, lanes",
        wraps: Wraps::Never,
    },
    claims: |encoded| encoded.starts_with("$scrypt$"),
    read: read_phc,
};

pub(super) const WERKZEUG: Format = Format {
    about: About {
        name: "werkzeug-scrypt",
        made_by: "werkzeug (Flask)",
        shape: "scrypt:32768:8:1$SALT$HEX",
        bounded_by: "memory_kib, scrypt_kib, lanes",
        wraps: Wraps::Never,
    },
    claims: |encoded| encoded.starts_with("scrypt:"),
    read: |encoded, terms| {
        let [method, salt, hash] = text::fields(encoded, '$').ok_or(Unusable::Malformed)?;
        let [_, n, r, p] = text::fields(method, ':').ok_or(Unusable::Malformed)?;
        let hash = text::hex(hash, HexCase::Lower).filter(|hash| hash.len() == 64).ok_or(Unusable::Malformed)?;
        with_text_salt([n, r, p], salt, Spelling::Werkzeug, terms)?.stored(&hash)
    },
};

pub(super) const DJANGO: Format = Format {
    about: About {
        name: "django-scrypt",
        made_by: "Django",
        shape: "scrypt$16384$SALT$8$5$HASH",
        bounded_by: "memory_kib, scrypt_kib, lanes",
        wraps: Wraps::Never,
    },
    claims: |encoded| encoded.starts_with("scrypt$"),
    read: |encoded, terms| {
        let [_, n, salt, r, p, hash] = text::fields(encoded, '$').ok_or(Unusable::Malformed)?;
        let hash = text::base64(hash, &PADDED).filter(|hash| hash.len() == 64).ok_or(Unusable::Malformed)?;
        with_text_salt([n, r, p], salt, Spelling::Django, terms)?.stored(&hash)
    },
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    Phc,
    Werkzeug,
    Django,
}

/// N, r and p, within the bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost {
    log_n: u32,
    r: usize,
    p: usize,
}

impl Cost {
    /// From the logarithm of N.
    pub(super) fn new(log_n: u64, r: u64, p: u64, terms: &Terms) -> Result<Self, Unusable> {
        if log_n == 0 || r == 0 || p == 0 {
            return Err(Unusable::Malformed);
        }
        within(r.max(p), terms.bounds.lanes)?;
        within(log_n, 31_u32)?;
        let memory_kib = ((128 * r) << log_n) / 1024;
        within(memory_kib, terms.bounds.memory_kib)?;
        within(memory_kib * p, terms.bounds.scrypt_kib)?;
        let [log_n, r, p] = [log_n, r, p].map(u32::try_from);
        let (log_n, r, p) = (log_n.ok(), r.ok(), p.ok());
        let cost = log_n.zip(r.zip(p)).map(|(log_n, (r, p))| Self { log_n, r: r as usize, p: p as usize });
        cost.ok_or(Unusable::OverBounds)
    }

    /// From N itself.
    fn of_n(n: u64, r: u64, p: u64, terms: &Terms) -> Result<Self, Unusable> {
        if n.is_power_of_two() { Self::new(n.ilog2().into(), r, p, terms) } else { Err(Unusable::Malformed) }
    }

    pub(super) fn told(self) -> String {
        format!("scrypt, N=2^{}, r={}, p={}, {} KiB", self.log_n, self.r, self.p, ((128 * self.r) << self.log_n) / 1024)
    }

    pub(super) fn parameters(self) -> String {
        format!("ln={},r={},p={}", self.log_n, self.r, self.p)
    }

    /// So many bytes of a password's key (RFC 7914, section 6).
    pub(super) fn derive(
        self,
        password: &[u8],
        salt: &[u8],
        bytes: usize,
        arena: &mut Arena,
    ) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
        let lane_bytes = 128 * self.r;
        let mut lanes = Zeroizing::new(vec![0; lane_bytes * self.p]);
        stretch(password, salt, &mut lanes);
        let blocks = (lane_bytes << self.log_n).div_ceil(Block::SIZE);
        arena.with(blocks, |memory| {
            for lane in lanes.chunks_exact_mut(lane_bytes) {
                mix(lane, self.log_n, memory);
            }
        })?;
        let mut key = Zeroizing::new(vec![0; bytes]);
        stretch(password, &lanes, &mut key);
        Ok(key)
    }
}

fn stretch(password: &[u8], salt: &[u8], out: &mut [u8]) {
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, NonZeroU32::MIN, salt, password, out);
}

struct Scrypt {
    cost: Cost,
    salt: Zeroizing<Vec<u8>>,
    bytes: usize,
    spelling: Spelling,
}

impl Scrypt {
    fn stored(self, digest: &[u8]) -> Result<Stored, Unusable> {
        if !(MIN_DIGEST_BYTES..=MAX_DIGEST_BYTES).contains(&digest.len()) {
            return Err(Unusable::Malformed);
        }
        Ok(Stored::new(Self { bytes: digest.len(), ..self }, digest))
    }
}

impl Scheme for Scrypt {
    fn digest(&self, password: &[u8], arena: &mut Arena) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
        self.cost.derive(password, &self.salt, self.bytes, arena)
    }

    fn encode(&self, digest: &[u8]) -> Zeroizing<String> {
        let (n, Cost { r, p, .. }) = (1_u64 << self.cost.log_n, self.cost);
        let salt = || str::from_utf8(&self.salt).unwrap_or_default();
        Zeroizing::new(match self.spelling {
            Spelling::Phc => {
                let (salt, hash) = (text::to_base64(&self.salt, &UNPADDED), text::to_base64(digest, &UNPADDED));
                format!("$scrypt${}${}${}", self.cost.parameters(), *salt, *hash)
            }
            Spelling::Werkzeug => format!("scrypt:{n}:{r}:{p}${}${}", salt(), *text::to_hex(digest)),
            Spelling::Django => format!("scrypt${n}${}${r}${p}${}", salt(), *text::to_base64(digest, &PADDED)),
        })
    }

    fn parameters(&self) -> String {
        format!("{}, a salt of {} bytes, {} bytes", self.cost.told(), self.salt.len(), self.bytes)
    }

    fn strength(&self) -> Strength {
        Strength::Hard
    }

    fn near(&self) -> Vec<(String, Box<dyn Scheme>)> {
        let other = |salt| Self { salt, cost: self.cost, bytes: self.bytes, spelling: self.spelling };
        let salts = super::salted::other_salts(&self.salt).into_iter();
        salts.map(|(salt, told)| (format!("if {told}"), Box::new(other(salt)) as Box<dyn Scheme>)).collect()
    }
}

fn read_phc(encoded: &str, terms: &Terms) -> Result<Stored, Unusable> {
    let [_, _, cost, salt, hash] = text::fields(encoded, '$').ok_or(Unusable::Malformed)?;
    let [n, r, p] = text::parameters(cost, ["ln", "r", "p"]).ok_or(Unusable::Malformed)?;
    // Nobody's N is less than 32, and nobody's logarithm more.
    let cost = if n < 32 { Cost::new(n, r, p, terms) } else { Cost::of_n(n, r, p, terms) }?;
    let salt = text::base64(salt, &EITHER).ok_or(Unusable::Malformed)?;
    let hash = text::base64(hash, &EITHER).ok_or(Unusable::Malformed)?;
    Scrypt { cost, salt, bytes: 0, spelling: Spelling::Phc }.stored(&hash)
}

fn with_text_salt(cost: [&str; 3], salt: &str, spelling: Spelling, terms: &Terms) -> Result<Scrypt, Unusable> {
    let [Some(n), Some(r), Some(p)] = cost.map(text::number) else { return Err(Unusable::Malformed) };
    if salt.is_empty() || !text::is_plain_salt(salt) {
        return Err(Unusable::Malformed);
    }
    let salt = Zeroizing::new(salt.as_bytes().to_vec());
    Ok(Scrypt { cost: Cost::of_n(n, r, p, terms)?, salt, bytes: 0, spelling })
}

// ------------------------------------------------------------------------------------------------------------ the mixing

/// A diagonal of Salsa20's matrix.
type Diagonal = [u32; 4];

/// 64 bytes, as four diagonals.
type Chunk = [Diagonal; 4];

/// scryptROMix (RFC 7914, section 5): as much memory as it says, filled once and looked up once for each place.
fn mix(lane: &mut [u8], log_n: u32, memory: &mut [Block]) {
    let mut x: Vec<Chunk> = lane.as_chunks().0.iter().map(load).collect();
    let mut y = x.clone();
    let (chunks, n) = (x.len(), 1_usize << log_n);
    let mut places = memory.iter_mut().flat_map(|block| block.as_mut().as_chunks_mut().0);
    for _ in 0..n {
        for (chunk, place) in x.iter().zip(&mut places) {
            *place = packed(chunk);
        }
        mix_block(&x, &mut y);
        std::mem::swap(&mut x, &mut y);
    }
    for _ in 0..n {
        // The first 32 bits of the last chunk: N is a power of two far below 2^32.
        let first = x.last().map_or(0, |chunk| chunk[0][0]);
        let start = (first as usize & (n - 1)) * chunks;
        for (at, chunk) in x.iter_mut().enumerate() {
            *chunk = xored(chunk, &unpacked(at_place(memory, start + at)));
        }
        mix_block(&x, &mut y);
        std::mem::swap(&mut x, &mut y);
    }
    for (chunk, out) in x.iter().zip(lane.as_chunks_mut().0) {
        *out = stored(chunk);
    }
    x.iter_mut().chain(&mut y).for_each(zeroize::Zeroize::zeroize);
}

/// scryptBlockMix (RFC 7914, section 4).
fn mix_block(input: &[Chunk], output: &mut [Chunk]) {
    let mut state = input.last().copied().unwrap_or_default();
    let (evens, odds) = output.split_at_mut(input.len() / 2);
    let outputs = evens.iter_mut().zip(odds);
    for ([even, odd], (for_even, for_odd)) in input.as_chunks().0.iter().zip(outputs) {
        *for_even = salsa20_8(xored(&state, even));
        *for_odd = salsa20_8(xored(for_even, odd));
        state = *for_odd;
    }
}

// Everything below is written out, without loops: it runs millions of times, in tests without optimization as well.

/// Salsa20/8 core (RFC 7914, section 3): four times a round of columns and one of rows.
fn salsa20_8(input: Chunk) -> Chunk {
    let [mut a, mut b, mut c, mut d] = input;
    for _ in 0..4 {
        b = quarter(b, a, d, 7);
        c = quarter(c, b, a, 9);
        d = quarter(d, c, b, 13);
        a = quarter(a, d, c, 18);
        b = [b[3], b[0], b[1], b[2]];
        c = [c[2], c[3], c[0], c[1]];
        d = [d[1], d[2], d[3], d[0]];
        d = quarter(d, a, b, 7);
        c = quarter(c, d, a, 9);
        b = quarter(b, c, d, 13);
        a = quarter(a, b, c, 18);
        b = [b[1], b[2], b[3], b[0]];
        c = [c[2], c[3], c[0], c[1]];
        d = [d[3], d[0], d[1], d[2]];
    }
    let [before_a, before_b, before_c, before_d] = input;
    [added(a, before_a), added(b, before_b), added(c, before_c), added(d, before_d)]
}

#[inline(always)]
fn quarter(target: Diagonal, one: Diagonal, other: Diagonal, by: u32) -> Diagonal {
    [
        target[0] ^ one[0].wrapping_add(other[0]).rotate_left(by),
        target[1] ^ one[1].wrapping_add(other[1]).rotate_left(by),
        target[2] ^ one[2].wrapping_add(other[2]).rotate_left(by),
        target[3] ^ one[3].wrapping_add(other[3]).rotate_left(by),
    ]
}

fn added(one: Diagonal, other: Diagonal) -> Diagonal {
    [
        one[0].wrapping_add(other[0]),
        one[1].wrapping_add(other[1]),
        one[2].wrapping_add(other[2]),
        one[3].wrapping_add(other[3]),
    ]
}

fn xored(one: &Chunk, other: &Chunk) -> Chunk {
    let row = |a: Diagonal, b: Diagonal| [a[0] ^ b[0], a[1] ^ b[1], a[2] ^ b[2], a[3] ^ b[3]];
    [row(one[0], other[0]), row(one[1], other[1]), row(one[2], other[2]), row(one[3], other[3])]
}

/// Little-endian words, as diagonals.
fn load(bytes: &[u8; 64]) -> Chunk {
    let mut w = [0_u32; 16];
    for (word, bytes) in w.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    [[w[0], w[5], w[10], w[15]], [w[4], w[9], w[14], w[3]], [w[8], w[13], w[2], w[7]], [w[12], w[1], w[6], w[11]]]
}

fn stored(chunk: &Chunk) -> [u8; 64] {
    let [a, b, c, d] = chunk;
    let words = [a[0], d[1], c[2], b[3], b[0], a[1], d[2], c[3], c[0], b[1], a[2], d[3], d[0], c[1], b[2], a[3]];
    let mut bytes = [0; 64];
    for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    bytes
}

/// As the memory of Argon2 has it, which is of words twice as wide.
type Packed = [u64; 8];

fn packed(chunk: &Chunk) -> Packed {
    let pair = |low: u32, high: u32| low as u64 | (high as u64) << 32;
    let [a, b, c, d] = chunk;
    [
        pair(a[0], a[1]),
        pair(a[2], a[3]),
        pair(b[0], b[1]),
        pair(b[2], b[3]),
        pair(c[0], c[1]),
        pair(c[2], c[3]),
        pair(d[0], d[1]),
        pair(d[2], d[3]),
    ]
}

fn unpacked(words: &Packed) -> Chunk {
    let row = |one: u64, other: u64| [one as u32, (one >> 32) as u32, other as u32, (other >> 32) as u32];
    [row(words[0], words[1]), row(words[2], words[3]), row(words[4], words[5]), row(words[6], words[7])]
}

/// A chunk of the memory; every place that is looked up was filled before.
fn at_place(memory: &[Block], place: usize) -> &Packed {
    const CHUNKS: usize = Block::SIZE / size_of::<Packed>();
    let block = memory.get(place / CHUNKS).map(AsRef::<[u64]>::as_ref).unwrap_or_default();
    block.as_chunks().0.get(place % CHUNKS).unwrap_or(&[0; 8])
}

#[cfg(test)]
mod tests {
    use super::super::super::arena::Allowance;
    use super::super::tests::{MALFORMED, OVER_BOUNDS, matches};
    use super::*;

    fn derived(password: &[u8], salt: &[u8], log_n: u64, r: u64, p: u64) -> String {
        let cost = Cost::new(log_n, r, p, &Terms::default()).expect("within the bounds");
        let mut arena = Arena::new(64, Allowance::new());
        text::to_hex(&cost.derive(password, salt, 64, &mut arena).expect("memory")).to_string()
    }

    #[test]
    fn the_vectors_of_rfc_7914_come_out() {
        // Section 12.
        assert_eq!(
            derived(b"", b"", 4, 1, 1),
            "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442\
             fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906"
        );
        assert_eq!(
            derived(b"password", b"NaCl", 10, 8, 16),
            "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162\
             2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"
        );
    }

    #[test]
    fn block_sizes_that_do_not_fill_the_arenas_blocks_evenly_come_out_too() {
        // Made by Python's hashlib.scrypt with n=32.
        for (r, expected) in [
            (
                1,
                "43163cb66bfa8390cbf580f791b959bed31cc7ec1dc3091a218e58c27538cbdc8e46879a284357981778e1c4f8032e5e67d4a4028b1f81922197f9ff164b6914",
            ),
            (
                2,
                "932d6a5e1157bc500bc68a8a91d7b37bd90f6d764293d60f12cfab01ba68da5db0f1c06b989258bc70e0eb2daff38c43f813f0cf74fac055ef7f27e4f0c71693",
            ),
            (
                3,
                "1cf075dc293429c88e252aeb9788d1a0c95c90c7d7718a73726fd06ac35dd464a67645c05463742810e60e697429f24c65550d73d7de86371b1f68d6825920d6",
            ),
            (
                5,
                "5bd8d9164658df4fbfeedf31d454c79618897ee37966a654f89164588b794d85af47e32cb94b7a214173cdf9bc8e5bd5e246feab51b24fd48858c1e39ea29160",
            ),
            (
                7,
                "730c5f8a2b10283e36f36385cc3116f91e96d8f08dd385ffc2f4e670a5e6335d598d4dcca819030fef651c1e8b38d4d7e092cbfdca4039286852020931595459",
            ),
            (
                8,
                "6c4b4cfc948493b5aa65d0f38c92207474f1eaaf73b480be1fd34f16805aca761132915efd0cb820062c5db5d5697078da516e4a94b4fa5855ca0f951e027228",
            ),
            (
                9,
                "6e748ece858d6f0a2e14a575a781f0fd4acef96b2ea27bb14af7e47ec9631ccfa2a473f3581ef922362e9e942f745a8187c839d016e5b4c0f857977bc1d361fd",
            ),
        ] {
            assert_eq!(derived(b"p", b"s", 5, r, 2), expected, "r={r}");
        }
    }

    #[test]
    fn r53_memory_and_time_are_bounded_before_any_is_taken() {
        let phc = |cost: &str| matches(&format!("$scrypt${cost}$c2FsdA${}", "A".repeat(43)), b"x");
        assert_eq!(phc("ln=4,r=8,p=1"), Ok(false));
        for over in [
            "ln=19,r=8,p=1",
            "ln=18,r=16,p=1",
            "ln=31,r=1,p=1",
            "ln=17,r=8,p=3",
            "ln=4,r=65,p=1",
            "ln=4,r=1,p=65",
            "ln=4,r=4294967296,p=1",
            "ln=4,r=99999999999999999999,p=1",
            "ln=9223372036854775808,r=8,p=1",
        ] {
            assert_eq!(phc(over), OVER_BOUNDS, "{over}");
        }
        for malformed in ["ln=0,r=8,p=1", "ln=4,r=0,p=1", "ln=4,r=8,p=0", "ln=4,r=8", "ln=33,r=8,p=1", "N=4,r=8,p=1"] {
            assert_eq!(phc(malformed), MALFORMED, "{malformed}");
        }
        for malformed in [
            "scrypt:16:8:1$salt$00",
            "scrypt:17:8:1$salt$",
            "scrypt:16:8$salt$00",
            "scrypt$16$salt$8$1$AAAA",
            "scrypt$16$$8$1$AAAA",
            "$scrypt$ln=4,r=8,p=1$c2FsdA$AAAA",
        ] {
            assert_eq!(matches(malformed, b"x"), MALFORMED, "{malformed}");
        }
    }

    #[test]
    fn a_hash_reads_the_same_whether_ln_is_the_logarithm_or_n() {
        let hash = "A".repeat(43);
        assert_eq!(
            super::super::describe(&format!("$scrypt$ln=10,r=8,p=1$c2FsdA${hash}"), &Terms::default()),
            super::super::describe(&format!("$scrypt$ln=1024,r=8,p=1$c2FsdA==${hash}="), &Terms::default()),
        );
    }
}
