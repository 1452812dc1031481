//! Which of all points are tried, and how to repeat one.

use crate::calls::Point;
use crate::say;

/// What `HOLDFAST_SYSCALLS` says: `all`, every so many, or a point's name.
pub enum Chosen {
    Every(usize),
    One(Point),
}

impl Chosen {
    /// By the environment; every so many where it says nothing.
    pub fn or_every(usual: usize) -> Self {
        let Ok(said) = std::env::var("HOLDFAST_SYSCALLS") else { return Self::Every(usual) };
        if said == "all" {
            return Self::Every(1);
        }
        let one = Point::parse(&said).map(Self::One);
        one.unwrap_or_else(|| Self::Every(said.parse().expect("HOLDFAST_SYSCALLS is all, a number, or a point")))
    }

    /// These points of all. Where only some are taken, others are the next time.
    pub fn of(self, all: Vec<Point>) -> Vec<Point> {
        match self {
            Self::Every(step) => {
                let first = rand::random_range(0..step);
                all.into_iter().skip(first).step_by(step).collect()
            }
            Self::One(point) => vec![point],
        }
    }
}

/// Says how to repeat a point that failed.
pub struct Again<'a> {
    pub point: &'a Point,
    pub test: &'static str,
}

impl Drop for Again<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&format!("repeat with HOLDFAST_SYSCALLS={} cargo test --test syscalls {}", self.point, self.test));
        }
    }
}
