//! Which key is meant: by lot, all alike or some far more often than others.

use clap::ValueEnum;

/// How often each key is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Distribution {
    /// All alike
    Uniform,
    /// The first most often, the k-th in proportion to 1/k to the power of the exponent
    Zipf,
}

impl Distribution {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Distribution::Uniform => "uniform",
            Distribution::Zipf => "zipf",
        }
    }
}

/// Draws numbers of keys.
#[derive(Clone, Debug)]
pub(crate) enum Keys {
    Uniform { count: u64 },
    Zipf { zipf: Zipf, stride: u64 },
}

impl Keys {
    pub(crate) fn new(distribution: Distribution, count: u64, exponent: f64) -> Keys {
        assert!(count > 0, "there is a key to draw");
        match distribution {
            Distribution::Uniform => Keys::Uniform { count },
            Distribution::Zipf => {
                Keys::Zipf { zipf: Zipf::new(count, exponent), stride: stride(count) }
            }
        }
    }

    /// The number of a key, below the count. With zipf the frequent ones are spread over the range, so that they
    /// are no neighbours in the store.
    pub(crate) fn draw(&self, rng: &mut fastrand::Rng) -> u64 {
        match self {
            Keys::Uniform { count } => rng.u64(..*count),
            Keys::Zipf { zipf, stride } => scatter(zipf.rank(rng) - 1, *stride, zipf.count),
        }
    }
}

/// Odd and far from any power of two: neighbours are sent far apart.
const STRIDE: u64 = 0x9E37_79B9_7F4A_7C15;

/// A number that shares no factor with `count`.
fn stride(count: u64) -> u64 {
    let mut stride = STRIDE % count;
    while greatest_common_divisor(stride, count) != 1 {
        stride += 1;
    }
    stride
}

/// A permutation of the numbers below `count`: multiplication by a number that shares no factor with it.
fn scatter(number: u64, stride: u64, count: u64) -> u64 {
    (u128::from(number) * u128::from(stride) % u128::from(count)) as u64
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Ranks from 1 to `count`, the k-th with a probability in proportion to k^-exponent.
///
/// Rejection-inversion (Hörmann and Derflinger 1996): the area under the curve x^-exponent is drawn from, and a
/// rank is refused where the curve lies above its step. It needs no table, and a little over one try.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    count: u64,
    exponent: f64,
    /// The integral from 1 to 1.5, less the step of rank 1.
    area_first: f64,
    /// The integral from 1 to `count` + 0.5.
    area_last: f64,
    /// Within this distance no lot need be checked.
    sure: f64,
}

impl Zipf {
    pub(crate) fn new(count: u64, exponent: f64) -> Zipf {
        assert!(count > 0 && exponent > 0.0 && exponent.is_finite(), "options check it");
        let mut zipf = Zipf { count, exponent, area_first: 0.0, area_last: 0.0, sure: 0.0 };
        zipf.area_first = zipf.area(1.5) - 1.0;
        zipf.area_last = zipf.area(count as f64 + 0.5);
        zipf.sure = 2.0 - zipf.inverse(zipf.area(2.5) - zipf.height(2.0));
        zipf
    }

    fn height(&self, x: f64) -> f64 {
        x.powf(-self.exponent)
    }

    /// The integral of the curve from 1 to `x`.
    fn area(&self, x: f64) -> f64 {
        let log = x.ln();
        exp_m1_over((1.0 - self.exponent) * log) * log
    }

    /// The `x` whose area this is.
    fn inverse(&self, area: f64) -> f64 {
        let t = (area * (1.0 - self.exponent)).max(-1.0);
        (ln_1p_over(t) * area).exp()
    }

    /// A rank, by lot.
    fn rank(&self, rng: &mut fastrand::Rng) -> u64 {
        loop {
            let area = self.area_last + rng.f64() * (self.area_first - self.area_last);
            let x = self.inverse(area);
            let rank = x.round().clamp(1.0, self.count as f64);
            if rank - x <= self.sure || area >= self.area(rank + 0.5) - self.height(rank) {
                return rank as u64;
            }
        }
    }
}

/// (e^x - 1) / x, also near 0.
fn exp_m1_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x / 2.0 }
}

/// ln(1 + x) / x, also near 0.
fn ln_1p_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest distance between what was counted and what the exact probabilities lead to expect, in standard
    /// deviations.
    fn deviation(ranks: impl Iterator<Item = u64>, count: u64, exponent: f64) -> f64 {
        let mut counted = vec![0u64; count as usize];
        let mut draws = 0;
        for rank in ranks {
            counted[rank as usize - 1] += 1;
            draws += 1;
        }
        let weight = |rank: u64| (rank as f64).powf(-exponent);
        let total: f64 = (1..=count).map(weight).sum();
        (1..=count)
            .map(|rank| {
                let share = weight(rank) / total;
                let expected = share * f64::from(draws);
                let deviation = (expected * (1.0 - share)).sqrt();
                (counted[rank as usize - 1] as f64 - expected).abs() / deviation
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn ranks_come_as_often_as_they_should() {
        for (count, exponent) in [(10, 0.5), (50, 0.99), (50, 1.0), (100, 1.2), (7, 2.5), (2, 1.0)]
        {
            let zipf = Zipf::new(count, exponent);
            let mut rng = fastrand::Rng::with_seed(7);
            let worst = deviation((0..300_000).map(|_| zipf.rank(&mut rng)), count, exponent);
            assert!(worst < 4.5, "{count} ranks, exponent {exponent}: {worst} deviations");
        }
    }

    /// The check above must notice an exponent that is off, and a rank that is missing.
    #[test]
    fn wrong_frequencies_are_noticed() {
        let mut rng = fastrand::Rng::with_seed(7);
        let zipf = Zipf::new(50, 0.97);
        let off = deviation((0..300_000).map(|_| zipf.rank(&mut rng)), 50, 0.99);
        assert!(off > 4.5, "{off}");
        let zipf = Zipf::new(49, 0.99);
        let missing = deviation((0..300_000).map(|_| zipf.rank(&mut rng)), 50, 0.99);
        assert!(missing > 4.5, "{missing}");
    }

    #[test]
    fn one_key_is_always_drawn() {
        let mut rng = fastrand::Rng::with_seed(1);
        for distribution in [Distribution::Uniform, Distribution::Zipf] {
            assert_eq!(Keys::new(distribution, 1, 1.0).draw(&mut rng), 0);
        }
    }

    #[test]
    fn scattering_leaves_no_number_out() {
        for count in [1, 2, 3, 10, 64, 97, 1_000] {
            let mut hit = vec![false; count as usize];
            (0..count)
                .for_each(|number| hit[scatter(number, stride(count), count) as usize] = true);
            assert!(hit.into_iter().all(|hit| hit), "{count}");
        }
    }
}
