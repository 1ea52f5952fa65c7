//! The end of a training whose loss has ceased to fall: an epoch's mean loss against that of the epoch before.
//!
//! An epoch sees every sample once, so that its mean does not depend on which samples were drawn; single batches would.

/// Mean losses of epochs, as far as the end needs them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Epochs {
    /// Sum of the losses of the samples seen in this epoch.
    pub sum: f64,
    /// Their number.
    pub samples: u64,
    /// Mean loss of the last whole epoch.
    pub last: Option<f64>,
    /// Mean loss of the one before it.
    pub before: Option<f64>,
}

impl Epochs {
    /// A batch of so many samples had this mean loss.
    pub fn add(&mut self, loss: f64, samples: u64) {
        self.sum += loss * samples as f64;
        self.samples += samples;
    }

    /// An epoch is over.
    pub fn close(&mut self) {
        let mean = self.sum / self.samples as f64;
        *self = Self { sum: 0.0, samples: 0, last: Some(mean), before: self.last };
    }

    /// True if the last epoch's mean fell by at most this share of the one before.
    pub fn reached(&self, share: f64) -> bool {
        matches!((self.before, self.last), (Some(before), Some(last)) if last >= (1.0 - share) * before)
    }

    /// As text: the bits of all numbers.
    pub(super) fn to_text(self) -> String {
        let bits = |x: Option<f64>| x.map_or("none".to_owned(), |x| format!("{:x}", x.to_bits()));
        format!("{:x} {:x} {} {}", self.sum.to_bits(), self.samples, bits(self.last), bits(self.before))
    }

    /// From [`Epochs::to_text`].
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
        let (sum, samples) = (f64::from_bits(number()?), number()?);
        let mut mean = || match parts.next()? {
            "none" => Some(None),
            bits => u64::from_str_radix(bits, 16).ok().map(|bits| Some(f64::from_bits(bits))),
        };
        let (last, before) = (mean()?, mean()?);
        parts.next().is_none().then_some(Self { sum, samples, last, before })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_that_falls_too_little_is_the_end() {
        let mut epochs = Epochs::default();
        let mut epoch = |losses: [f64; 2]| {
            // The second batch is short.
            epochs.add(losses[0], 3);
            epochs.add(losses[1], 1);
            epochs.close();
            epochs.reached(0.01)
        };
        assert!(!epoch([4.0, 8.0]));
        // From 5 to 4.9, 4.87 and 4.83.
        assert!(!epoch([4.9, 4.9]));
        assert!(epoch([4.87, 4.87]));
        assert!(epoch([4.83, 4.83]));
        assert!(!epoch([4.0, 4.0]));
        assert!(!epoch([f64::NAN, 4.0]));
        assert!(!epoch([3.0, 3.0]));
    }

    #[test]
    fn numbers_come_back_from_text_bit_for_bit() {
        let mut epochs = Epochs::default();
        for loss in [1.0 / 3.0, 0.1, 7.0] {
            assert_eq!(Epochs::from_text(&epochs.to_text()), Some(epochs));
            epochs.add(loss, 5);
            assert_eq!(Epochs::from_text(&epochs.to_text()), Some(epochs));
            epochs.close();
        }
        for text in ["", "0", "0 0", "0 0 none", "0 0 none none none", "0 0 x none", "-1 0 none none"] {
            assert_eq!(Epochs::from_text(text), None, "{text}");
        }
    }
}
