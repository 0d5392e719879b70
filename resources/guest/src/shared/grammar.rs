//! The orders on the kernel command line: `offshoot.do=STEP,STEP,...`, where a step is
//! `WORD[:VALUE][:KEY=VALUE]...`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::area::{Area, Blocks};
use crate::orders::{Bench, Io, Order, Stamps, Step, Transfer};
use crate::pattern::{BASE_SEED, BLOCK, SECTOR};

/// Reads the orders, in order.
///
/// # Errors
/// What is wrong, naming the step.
pub fn parse(text: &str) -> Result<Vec<Step>, String> {
    let mut io = Io::default();
    let mut steps = Vec::new();
    for step in text.split(',').filter(|step| !step.is_empty()) {
        read_step(step, &mut io, &mut steps).map_err(|error| format!("`{step}`: {error}"))?;
    }
    Ok(steps)
}

/// Adds what `step` orders to `steps`. Without arguments that say otherwise a disk is driven as
/// by `io`, which `use` changes for what follows; only a benchmark has a size of its own.
fn read_step(step: &str, io: &mut Io, steps: &mut Vec<Step>) -> Result<(), String> {
    let mut arguments = Arguments::new(step);
    let mut own = io.clone();
    if arguments.word == "bench" {
        own.size = BLOCK as u64;
    }
    arguments.io(&mut own)?;
    if arguments.word == "use" {
        *io = own;
    } else if let Some(parts) = arguments.demo()? {
        parts.iter().try_for_each(|part| read_step(part, &mut own, steps))?;
    } else {
        let word = arguments.word.to_string();
        let step = Step { word, order: arguments.order()?, io: own, area: arguments.area()? };
        step.check()?;
        steps.push(step);
    }
    arguments.all_used()
}

/// What a step's word is followed by, less what was used.
struct Arguments<'a> {
    word: &'a str,
    value: Option<&'a str>,
    named: Vec<(&'a str, &'a str)>,
}

impl<'a> Arguments<'a> {
    fn new(step: &'a str) -> Arguments<'a> {
        let (word, rest) = step.split_once(':').unwrap_or((step, ""));
        if word == "print" {
            return Arguments { word, value: Some(rest), named: Vec::new() };
        }
        let mut arguments = Arguments { word, value: None, named: Vec::new() };
        for argument in rest.split(':').filter(|argument| !argument.is_empty()) {
            match argument.split_once('=') {
                Some(pair) => arguments.named.push(pair),
                None if arguments.value.is_none() => arguments.value = Some(argument),
                // Nobody takes it, so it is refused as what it is.
                None => arguments.named.push((argument, "")),
            }
        }
        arguments
    }

    /// The steps that a word for `offshoot demo` stands for: a clone's own blocks are one in 16.
    fn demo(&mut self) -> Result<Option<Vec<String>>, String> {
        let again = match self.word {
            "demo-first" => false,
            "demo-again" => true,
            _ => return Ok(None),
        };
        let seed = self.number()?;
        let verify = [format!("verify:{seed}:every=16"), "verify-base:except=16".to_string()];
        if again {
            return Ok(Some(verify.into()));
        }
        let write =
            ["verify-base".to_string(), format!("write:{seed}:every=16"), "flush".to_string()];
        Ok(Some([&write[..], &verify[..]].concat()))
    }

    fn order(&mut self) -> Result<Order, String> {
        Ok(match self.word {
            "hello" => Order::Hello,
            "devices" => Order::Devices,
            "cpus" => Order::Cpus,
            "id" => Order::Id,
            "verify-readonly" => Order::VerifyReadOnly,
            "hostile" => Order::Hostile,
            "stamp" => Order::Stamp(self.stamps()?),
            "verify-stamps" => Order::VerifyStamps { last: self.number()?, stamps: self.stamps()? },
            "bench" => Order::Bench(self.bench()?),
            "rng" => Order::Rng { bytes: small(self.number_or(32)?.max(1))? },
            "print" => Order::Print(self.value.take().unwrap_or_default().to_string()),
            "echo" => Order::Echo,
            "touch" => Order::Touch { bytes: self.number()?.max(1) },
            "sleep" => Order::Sleep { milliseconds: self.milliseconds()? },
            "idle" => Order::Idle,
            "spin" => Order::Spin,
            "fault" => Order::Fault,
            "ud2" => Order::Ud2,
            "int3" => Order::Int3,
            "exit" => Order::Exit(small(self.number_or(0)?)?),
            "poweroff" => Order::Poweroff,
            "reboot" => Order::Reboot,
            _ => Order::Transfer(self.transfer()?),
        })
    }

    fn transfer(&mut self) -> Result<Transfer, String> {
        Ok(match self.word {
            "write" => Transfer::Write { seed: self.number()? },
            "verify" => Transfer::Verify { seed: self.number()? },
            "verify-base" => Transfer::Verify { seed: self.number_or(BASE_SEED)? },
            "verify-zero" => Transfer::VerifyZero,
            "zero" => Transfer::Zero { unmap: self.named_or("unmap", 0)? != 0 },
            "discard" => Transfer::Discard,
            "flush" => Transfer::Flush,
            word => return Err(format!("there is no order `{word}`")),
        })
    }

    fn io(&mut self, io: &mut Io) -> Result<(), String> {
        io.disk = small(self.named_or("disk", io.disk as u64)?)?;
        if let Some(cpus) = self.named("cpus") {
            io.cpus = small(number(cpus)?)?;
            io.queues = io.cpus;
        }
        io.queues = small(self.named_or("queues", io.queues as u64)?)?;
        io.depth = small(self.named_or("depth", io.depth as u64)?)?;
        io.size = self.named_or("size", io.size)?;
        io.interrupts = match self.named("mode") {
            None => io.interrupts,
            Some("poll") => false,
            Some("irq") => true,
            Some(mode) => return Err(format!("mode={mode} is neither poll nor irq")),
        };
        if io.cpus == 0 || io.depth == 0 || io.size == 0 || !io.size.is_multiple_of(512) {
            return Err("cpus, depth and size are at least 1, size a multiple of 512".into());
        }
        if io.queues < io.cpus {
            return Err(format!("{} queues are not one for each of {} cpus", io.queues, io.cpus));
        }
        Ok(())
    }

    fn area(&mut self) -> Result<Area, String> {
        let (start, length) = match self.named("range") {
            None => (0, None),
            Some(range) => {
                let (start, length) =
                    range.split_once('+').ok_or("a range is START+LENGTH or START+")?;
                let length = Some(length).filter(|length| !length.is_empty());
                (number(start)?, length.map(number).transpose()?)
            }
        };
        if !start.is_multiple_of(SECTOR as u64) {
            return Err(format!("{start} is not a multiple of 512"));
        }
        let blocks = match (self.named("every"), self.named("except")) {
            (None, None) => Blocks::All,
            (Some(step), None) => Blocks::Every(number_from(1, step)?),
            (None, Some(step)) => Blocks::Except(number_from(2, step)?),
            _ => return Err("every= and except= exclude each other".into()),
        };
        Ok(Area { start, length, blocks })
    }

    fn stamps(&mut self) -> Result<Stamps, String> {
        let blocks = self.named_or("blocks", 64)?;
        if blocks == 0 {
            return Err("blocks is at least 1".into());
        }
        let count = self.named_or("count", u64::MAX)?.max(1);
        Ok(Stamps { from: self.named_or("from", 1)?, count, blocks })
    }

    fn bench(&mut self) -> Result<Bench, String> {
        let rw = self.named("rw").unwrap_or("randread");
        let mix = self.named_or("mix", 70)?;
        let (name, random, reads) = match rw {
            "read" => ("read", false, 100),
            "write" => ("write", false, 0),
            "rw" => ("rw", false, mix),
            "randread" => ("randread", true, 100),
            "randwrite" => ("randwrite", true, 0),
            "randrw" => ("randrw", true, mix),
            _ => {
                return Err(format!("rw={rw} is not read, write, rw, randread, randwrite, randrw"));
            }
        };
        let seconds = self.named("seconds").unwrap_or("2");
        Ok(Bench { random, reads, milliseconds: milliseconds(seconds)?, name })
    }

    fn milliseconds(&mut self) -> Result<u64, String> {
        milliseconds(self.value.take().ok_or("how many seconds?")?)
    }

    fn number(&mut self) -> Result<u64, String> {
        number(self.value.take().ok_or("its number is missing")?)
    }

    fn number_or(&mut self, default: u64) -> Result<u64, String> {
        self.value.take().map_or(Ok(default), number)
    }

    fn named(&mut self, key: &str) -> Option<&'a str> {
        let place = self.named.iter().position(|(name, _)| *name == key)?;
        Some(self.named.remove(place).1)
    }

    fn named_or(&mut self, key: &str, default: u64) -> Result<u64, String> {
        self.named(key).map_or(Ok(default), number)
    }

    fn all_used(&self) -> Result<(), String> {
        match (self.value, self.named.first()) {
            (None, None) => Ok(()),
            (Some(value), _) => Err(format!("it takes no `{value}`")),
            (_, Some((key, ""))) => Err(format!("it takes no `{key}`")),
            (_, Some((key, _))) => Err(format!("it takes no `{key}=`")),
        }
    }
}

/// A number: decimal, or hexadecimal after 0x, or decimal with k, M or G for powers of 1024.
pub fn number(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a number");
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).map_err(|_| wrong());
    }
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

fn number_from(least: u64, text: &str) -> Result<u64, String> {
    let number = number(text)?;
    if number < least {
        return Err(format!("{number} is less than {least}"));
    }
    Ok(number)
}

fn small<T: TryFrom<u64>>(number: u64) -> Result<T, String> {
    T::try_from(number).map_err(|_| format!("{number} is too much"))
}

/// Seconds, with up to three decimals.
fn milliseconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a number of seconds");
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let thousandths: u64 = format!("{part:0<3.3}").parse().map_err(|_| wrong())?;
    whole.checked_mul(1000).and_then(|all| all.checked_add(thousandths)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Step {
        let [step] = <[Step; 1]>::try_from(parse(text).unwrap()).unwrap();
        step
    }

    #[test]
    fn steps_keep_their_order() {
        let steps = parse("hello,verify-base,,exit:3").unwrap();
        let orders: Vec<_> = steps.into_iter().map(|step| step.order).collect();
        let verify = Order::Transfer(Transfer::Verify { seed: BASE_SEED });
        assert_eq!(orders, [Order::Hello, verify, Order::Exit(3)]);
    }

    #[test]
    fn areas_and_drives_are_read() {
        let step = one("write:0x1f:range=1M+64k:every=16:mode=irq:cpus=2:depth=4:size=4k:disk=1");
        assert_eq!(step.order, Order::Transfer(Transfer::Write { seed: 31 }));
        let area = Area { start: 1 << 20, length: Some(64 << 10), blocks: Blocks::Every(16) };
        assert_eq!(step.area, area);
        let io = Io { disk: 1, interrupts: true, cpus: 2, queues: 2, depth: 4, size: 4096 };
        assert_eq!(step.io, io);
        assert_eq!(one("discard:range=512+").area.length, None);
    }

    #[test]
    fn use_changes_what_follows_but_not_the_size_of_benchmarks() {
        let steps = parse("flush,use:size=64k:cpus=2,flush,bench,bench:cpus=1").unwrap();
        let drives: Vec<_> =
            steps.iter().map(|step| (step.io.size, step.io.cpus, step.io.queues)).collect();
        assert_eq!(drives, [(128 << 10, 1, 1), (64 << 10, 2, 2), (4096, 2, 2), (4096, 1, 1)]);
    }

    #[test]
    fn words_for_demo_become_steps() {
        let words = |text| {
            let steps = parse(text).unwrap();
            steps.into_iter().map(|step| (step.word, step.io.cpus)).collect::<Vec<_>>()
        };
        let verify = [("verify".to_string(), 2), ("verify-base".to_string(), 2)];
        assert_eq!(words("demo-again:7:cpus=2"), verify);
        let first = words("use:cpus=2,demo-first:7");
        assert_eq!(first[3..], verify);
        assert_eq!(first[0].0, "verify-base");
        assert_eq!(first[1].0, "write");
        assert_eq!(first[2].0, "flush");
    }

    #[test]
    fn text_to_print_may_hold_anything_but_commas() {
        assert_eq!(one("print:a:b=c").order, Order::Print("a:b=c".to_string()));
    }

    #[test]
    fn seconds_have_decimals() {
        assert_eq!(one("sleep:1.5").order, Order::Sleep { milliseconds: 1500 });
        assert_eq!(one("sleep:0.0019").order, Order::Sleep { milliseconds: 1 });
        assert_eq!(one("sleep:2").order, Order::Sleep { milliseconds: 2000 });
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_step() {
        for wrong in [
            "jump",
            "write",
            "write:x",
            "write:1:2",
            "write:1:range=5",
            "write:1:range=100+512",
            "write:1:range=0+100",
            "write:1:every=0",
            "verify-base:except=1",
            "flush:colour=red",
            "flush:size=100",
            "flush:depth=0",
            "flush:cpus=2:queues=1",
            "flush:mode=later",
            "verify:1:every=2:except=2",
            "exit:256",
            "touch:99999999999G",
            "sleep:soon",
            "sleep:18446744073709551615",
            "stamp:size=512",
            "bench:rw=up",
            "demo-first",
        ] {
            let error = parse(wrong).expect_err(wrong);
            assert!(error.starts_with(&format!("`{wrong}`: ")), "{error}");
        }
    }
}
