//! Broken streams: an error or values, and nothing else, for whatever bytes.
//!
//! Streams of the golden vectors, mutated by a generator with a fixed seed. `fuzz/` hunts the same function without an end.

mod support;

use serde_json::Value as Json;
use skein_vm::mlua::{Function, LuaString};
use support::{Probe, unhex};

const CASES: usize = 200_000;

/// xorshift64*: enough to shuffle bytes, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }
}

/// Streams to begin with: what skynet wrote, and what it reads or refuses.
fn corpus() -> Vec<Vec<u8>> {
    let file: Json = serde_json::from_str(include_str!("golden/seri.json")).unwrap();
    let all =
        ["pack", "depth", "unpack", "unpack_errors"].iter().flat_map(|part| file[part].as_array().unwrap());
    let mut streams: Vec<_> = all.filter_map(|case| case["hex"].as_str()).map(unhex).collect();
    streams.retain(|it| it.len() < 1000);
    streams
}

fn mutate(stream: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    match random.below(7) {
        0 if !stream.is_empty() => {
            let at = random.below(stream.len());
            stream[at] = random.next() as u8;
        }
        1 if !stream.is_empty() => {
            let at = random.below(stream.len());
            stream[at] ^= 1 << random.below(8);
        }
        2 => stream.truncate(random.below(stream.len() + 1)),
        3 => stream.insert(random.below(stream.len() + 1), random.next() as u8),
        4 if !stream.is_empty() => {
            stream.remove(random.below(stream.len()));
        }
        5 => {
            let at = random.below(stream.len() + 1);
            let rest = stream.split_off(at);
            stream.extend_from_slice(other);
            stream.extend(rest);
        }
        // Tables in tables: what makes a reader recurse.
        _ => {
            let depth = random.below(400);
            let mut nested = vec![[0x0e, 0x06, 0xfe][random.below(3)]; depth];
            nested.append(stream);
            *stream = nested;
        }
    }
}

#[test]
fn any_bytes_are_values_or_an_error() {
    let probe = Probe::new();
    // What was read can be written and read again, but for the depth that writers keep to.
    let check: Function = probe.eval(
        "return function(stream)
            local got = table.pack(pcall(unpack, stream))
            if not got[1] then
                assert(type(got[2]) == 'string')
                return false, got[2]
            end
            local ok, text = pcall(packstring, table.unpack(got, 2, got.n))
            if ok then
                assert(select('#', unpack(text)) == got.n - 1)
            else
                assert(text == 'serialize can\\'t pack too depth table', text)
            end
            return true
        end",
    );
    let corpus = corpus();
    let mut random = Random(0x5eed_0fb1_0c45);
    let (mut read, mut refused) = (0, 0);
    for case in 0..CASES {
        let mut stream = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut stream, &corpus[random.below(corpus.len())], &mut random);
        }
        let text = probe.lua.create_string(&stream).unwrap();
        match check.call::<(bool, Option<LuaString>)>(text) {
            Ok((true, _)) => read += 1,
            Ok((false, Some(error))) => {
                let error = error.to_string_lossy();
                let known = ["Invalid serialize stream ", "table index is NaN", "stack overflow"];
                assert!(known.iter().any(|it| error.contains(it)), "case {case}: {error}: {stream:02x?}");
                refused += 1;
            }
            other => panic!("case {case}: {other:?}: {stream:02x?}"),
        }
    }
    assert!(
        read > CASES / 20 && refused > CASES / 20,
        "{read} read, {refused} refused: the mutations are too tame or too wild"
    );
    assert_eq!(probe.state.blocks_in_hand(), 0);
}
