//! On which majors the tests of a module run.

/// Makes a module for each line of the matrix, with one test for each function. A line has a name and
/// the majors, which `$run` is called with, then with the name of the test and its function:
///
/// ```ignore
/// matrix! { Bed::run, [from_13_to_18(13, 18), from_15_to_15(15, 15)] { rows_are_copied, rows_are_streamed } }
/// matrix! { Bed::run, every pair { rows_are_copied } }
/// matrix! { Bed::run, each { rows_are_copied: [from_13_to_18(13, 18)]; } }
/// ```
///
/// With `every pair`, tests run on each pair of majors that gets the full suite. With `each`, every
/// function has lines of its own, and the module is named after the function.
macro_rules! matrix {
    ($run:path, every pair $tests:tt) => {
        $crate::support::matrix! {
            $run, [from_15_to_15(15, 15), from_15_to_17(15, 17), from_16_to_18(16, 18)] $tests
        }
    };
    ($run:path, each { $($test:ident: [$($line:ident $majors:tt),+];)+ }) => {
        $(
            mod $test {
                use super::*;
                $(
                    #[test]
                    fn $line() {
                        $crate::support::matrix!(@call $run, $majors, $test, super::$test);
                    }
                )+
            }
        )+
    };
    ($run:path, [$($line:ident $majors:tt),+ $(,)?] $tests:tt) => {
        $(
            mod $line {
                use super::*;
                $crate::support::matrix!(@line $run, $majors $tests);
            }
        )+
    };
    (@line $run:path, $majors:tt { $($test:ident),+ $(,)? }) => {
        $(
            #[test]
            fn $test() {
                $crate::support::matrix!(@call $run, $majors, $test, super::$test);
            }
        )+
    };
    (@call $run:path, ($($major:literal),+), $test:ident, $body:path) => {
        $run($($major,)+ stringify!($test), $body)
    };
}

pub(crate) use matrix;

/// Runs a test that starts the servers it needs.
pub fn on_own_servers(major: u16, _test: &str, body: fn(u16)) {
    body(major);
}
