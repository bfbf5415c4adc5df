//! Numbers that look random and depend on a seed alone.
//!
//! Duty: a small generator (SplitMix64: Steele, Lea and Flood, 2014) which is started anew for each
//! record from the seed and the record's number, so that any record can be made without those before
//! it; and the distributions that expressions need.
//!
//! Deliberately absent: cryptographic strength.

/// A stream of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The finishing step of SplitMix64: every bit of the result depends on every bit of `x`.
pub(crate) const fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// A number for `bytes` (FNV-1a, then mixed).
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
    mix(bytes.iter().fold(0xCBF2_9CE4_8422_2325, step))
}

impl Random {
    /// The stream number `number` of `seed`.
    pub(crate) const fn new(seed: u64, number: u64) -> Self {
        Self(mix(mix(seed.wrapping_add(GOLDEN)) ^ number.wrapping_mul(GOLDEN)))
    }

    /// 64 bits.
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number below `bound`, each as likely as the next up to one part in 2^64 / bound; 0 if `bound`
    /// is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from 0 up to and not including 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True in a share of `probability` of all cases.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A number around 0 with standard deviation 1 (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// Numbers from 1 to `n` of which k comes with a frequency in proportion to 1 / k^exponent.
///
/// By rejection-inversion (Hörmann and Derflinger, 1996), which needs no table.
#[derive(Debug, Clone)]
pub(crate) struct Zipf {
    n: f64,
    exponent: f64,
    area_of_first: f64,
    area: f64,
    shift: f64,
}

impl Zipf {
    /// `n` is at least 1, `exponent` at least 0.
    pub(crate) fn new(n: u64, exponent: f64) -> Self {
        let mut zipf = Self { n: n as f64, exponent, area_of_first: 0.0, area: 0.0, shift: 0.0 };
        zipf.area_of_first = zipf.integral(1.5) - 1.0;
        zipf.area = zipf.integral(zipf.n + 0.5);
        zipf.shift = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.height(2.0));
        zipf
    }

    pub(crate) fn sample(&self, random: &mut Random) -> u64 {
        loop {
            let area = self.area + random.unit() * (self.area_of_first - self.area);
            let x = self.inverse(area);
            let k = x.round().clamp(1.0, self.n);
            if k - x <= self.shift || area >= self.integral(k + 0.5) - self.height(k) {
                return k as u64;
            }
        }
    }

    fn height(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// The integral of `height`.
    fn integral(&self, x: f64) -> f64 {
        let ln = x.ln();
        ln * expm1_by_x((1.0 - self.exponent) * ln)
    }

    fn inverse(&self, area: f64) -> f64 {
        let t = (area * (1.0 - self.exponent)).max(-1.0);
        (area * ln1p_by_x(t)).exp()
    }
}

/// (e^x - 1) / x, also near 0.
fn expm1_by_x(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x / 2.0 }
}

/// ln(1 + x) / x, also near 0.
fn ln1p_by_x(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_depend_on_seed_and_number() {
        let first = |seed, number| Random::new(seed, number).next();
        assert_eq!(first(1, 2), first(1, 2));
        let all: std::collections::HashSet<_> =
            (0..100).flat_map(|s| (0..100).map(move |n| first(s, n))).collect();
        assert_eq!(all.len(), 10_000);
    }

    #[test]
    fn shares_are_as_asked() {
        let mut random = Random::new(1, 0);
        let mut share = |mut of: Box<dyn FnMut(&mut Random) -> bool>| {
            (0..100_000).filter(|_| of(&mut random)).count() as f64 / 1e5
        };
        assert!((share(Box::new(|r| r.chance(0.3))) - 0.3).abs() < 0.01);
        assert!((share(Box::new(|r| r.below(10) < 3)) - 0.3).abs() < 0.01);
        assert!((share(Box::new(|r| r.normal().abs() < 1.0)) - 0.6827).abs() < 0.01);
    }

    #[test]
    fn zipf_follows_its_law() {
        for exponent in [0.0, 0.5, 1.0, 1.3] {
            let (zipf, mut random) = (Zipf::new(50, exponent), Random::new(7, 0));
            let mut seen = [0_u32; 51];
            for _ in 0..200_000 {
                seen[usize::try_from(zipf.sample(&mut random)).unwrap()] += 1;
            }
            let total: f64 = (1..=50).map(|k| f64::from(k).powf(-exponent)).sum();
            for k in [1_usize, 2, 10, 50] {
                let expect = (k as f64).powf(-exponent) / total;
                let share = f64::from(seen[k]) / 2e5;
                assert!((share - expect).abs() < 0.005, "{exponent} {k}: {share} for {expect}");
            }
            assert_eq!(seen[0], 0);
        }
        assert_eq!(Zipf::new(1, 1.0).sample(&mut Random::new(1, 1)), 1);
    }
}
