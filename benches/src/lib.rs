//! Micro benchmarks of the pure rooms, in `benches/`. There is nothing to call here.
