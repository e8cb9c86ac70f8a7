//! What a commit does that drops a subscription or removes tables from one: nobody is held up before
//! it, it waits for no lock without a bound, and if it fails nothing is lost and nothing applied twice.

mod failures;
mod locks;
mod removals;
mod shared;
