//! Since when the logical slots of this cluster have had no subscriber. From 17 on the server knows it.
//! Before, the launcher remembers when it first saw it.

use pgrx::pg_sys::TimestampTz;

use crate::ffi::slots::Name;

/// The most slots that are remembered.
const MAX: usize = 64;

#[repr(C)]
pub struct Inactive([Slot; MAX]);

/// A free entry has an empty name.
#[repr(C)]
#[derive(Clone, Copy)]
struct Slot {
    name: Name,
    since: TimestampTz,
}

impl Slot {
    const NONE: Self = Self { name: [0; 64], since: 0 };
}

impl Inactive {
    /// Updates the list to the slots that are inactive at `now`.
    pub fn follow(&mut self, names: &[Name], now: TimestampTz) {
        for slot in &mut self.0 {
            if !names.contains(&slot.name) {
                *slot = Slot::NONE;
            }
        }
        for name in names {
            let place = |wanted: &Name| self.0.iter().position(|slot| slot.name == *wanted);
            if place(name).is_none()
                && let Some(free) = place(&Slot::NONE.name)
            {
                self.0[free] = Slot { name: *name, since: now };
            }
        }
    }

    pub fn list(&self) -> Vec<(String, TimestampTz)> {
        let slots = self.0.iter().filter(|slot| slot.name != Slot::NONE.name);
        slots.map(|slot| (text(&slot.name), slot.since)).collect()
    }
}

/// Slot names are ASCII.
fn text(name: &Name) -> String {
    name.iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect()
}
