//! The project itself: its documents, its layout, and what it is made of.

mod documents;
mod house;
mod packages;
mod scripts;
