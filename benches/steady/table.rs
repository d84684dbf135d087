//! The table of figures, printed line by line as they are taken.

/// An open table.
pub(crate) struct Table;

impl Table {
    /// Says on what machine the figures are taken, and begins.
    pub(crate) fn open() -> Self {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        println!(
            "cargo bench: {} on {} {}, {cores} cores\n",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH
        );
        let table = Self;
        table.line("what", "measured", "to reach");
        table.line(&"-".repeat(60), &"-".repeat(50), &"-".repeat(15));
        table
    }

    /// One figure.
    pub(crate) fn row(&mut self, what: &str, measured: &str, to_reach: &str) {
        self.line(what, measured, to_reach);
    }

    fn line(&self, what: &str, measured: &str, to_reach: &str) {
        println!("| {what:60} | {measured:50} | {to_reach:15} |");
    }
}
