//! Rates, places and descriptors: each bound holds, and nobody starves.

mod few_descriptors;
mod many;
mod rate;
