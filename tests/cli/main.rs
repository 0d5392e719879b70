//! The command line, black box: the real binary, a store of its own for each test, and the tiny
//! guest where something has to run.

mod check;
mod clone;
mod codes;
#[path = "../common/mod.rs"]
mod common;
mod complete;
mod conditions;
mod crash;
mod customize;
mod damage;
mod delta_dir;
mod demo;
mod df;
mod distro;
mod doctor;
mod ephemeral;
mod events;
mod faults;
mod foreign;
mod full;
mod host;
mod image;
mod json;
mod lab;
mod layers;
mod life;
mod people;
mod remove;
mod repair;
mod run;
mod sealed;
mod snapshot;
mod still;
mod stress;
mod support;
mod terminal;
