//! What holds of any bytes that are decoded: one function for each target of `fuzz/`, which panics where it does not.
//! A test holds them against the seeds.

pub use crate::kernel::fuzz::btf;
pub use crate::output::fuzz::{decode, encode, record};
pub use crate::rings::fuzz::{fdinfo, rings};

/// Everything that is read of /proc, but the fdinfo of rings.
pub fn proc(text: &[u8]) {
    crate::rings::fuzz::proc(text);
    crate::enrich::fuzz::proc(text);
    crate::stat::fuzz::proc(text);
    crate::kernel::fuzz::proc(text);
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::{fs, io};

    type Check = fn(&[u8]);

    #[test]
    fn the_seeds_of_all_targets_hold() -> io::Result<()> {
        let targets: [(&str, Check); 7] = [
            ("btf", super::btf),
            ("decode", super::decode),
            ("encode", super::encode),
            ("fdinfo", super::fdinfo),
            ("proc", super::proc),
            ("record", super::record),
            ("rings", super::rings),
        ];
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        for (target, check) in targets {
            assert!(fuzz.join(format!("fuzz_targets/{target}.rs")).exists(), "{target}");
            for seed in fs::read_dir(fuzz.join("seeds").join(target))? {
                check(&fs::read(seed?.path())?);
            }
        }
        Ok(())
    }
}
