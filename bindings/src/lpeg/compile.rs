//! From a tree to code.
//!
//! Work is left out where the next byte decides: a choice between parts that begin with different bytes keeps nothing to come back to, a
//! loop over such a part neither. See [`analysis::first`] for what is known of beginnings.

use super::analysis::{
    self, First, Scope, asks_behind, fails_at_first_byte, first, fixed_length, never_fails,
};
use super::code::Op;
use super::tree::{
    EMPTY, FULL, Kind, Set, Tag, as_set, child, children, combine, disjoint, has_captures, head, kind,
    members, only, size, tag,
};

/// Longest code, in words.
pub(super) const MOST: usize = 1 << 22;

/// The code would be longer than [`MOST`].
#[derive(Debug, thiserror::Error)]
#[error("pattern code too large")]
pub(super) struct TooBig;

/// Alternatives from which on a choice is made by a table.
const SWITCH: usize = 3;

struct Compiler<'a> {
    code: &'a mut Vec<u32>,
    words: &'a [u32],
    /// Where the rules of the grammar begin that is being compiled, in the tree and in the code.
    rules: Vec<u32>,
    /// Operands that are rules yet, and not places.
    calls: Vec<(u32, u32)>,
}

/// Compiles a tree. Its calls are all of known rules.
pub(super) fn compile(words: &[u32], code: &mut Vec<u32>) -> Result<(), TooBig> {
    code.clear();
    code.push(Op::GiveUp.word(0));
    let mut compiler = Compiler { code, words, rules: Vec::new(), calls: Vec::new() };
    compiler.node(0, &FULL, false)?;
    compiler.code.push(Op::End.word(0));
    Ok(())
}

impl<'a> Compiler<'a> {
    fn scope(&self) -> Scope<'_> {
        Scope::new(self.words, &self.rules)
    }

    fn at(&self, at: usize) -> &'a [u32] {
        &self.words[at..]
    }

    fn first(&self, at: usize, follow: &Set) -> First {
        first(self.at(at), follow, self.scope())
    }

    fn emit(&mut self, op: Op, number: u32, operands: &[u32]) {
        self.code.push(op.word(number));
        self.code.extend_from_slice(operands);
    }

    fn here(&self) -> u32 {
        self.code.len() as u32
    }

    /// An instruction whose first operand is a place that [`land`](Self::land) fills in.
    fn leap(&mut self, op: Op, number: u32) -> usize {
        self.emit(op, number, &[0]);
        self.code.len() - 1
    }

    /// The operand means this place.
    fn land(&mut self, operand: usize) {
        self.code[operand] = self.here();
    }

    /// Goes away unless the next byte is in the set; answers the operand. None if any byte will do and the end too.
    fn test(&mut self, first: &First) -> Option<usize> {
        if first.may_be_missing {
            return None;
        }
        Some(match (first.set, only(&first.set)) {
            (FULL, _) => self.leap(Op::TestAny, 0),
            (_, Some(only)) => self.leap(Op::TestByte, u32::from(only)),
            (set, None) => {
                let operand = self.leap(Op::TestSet, 0);
                self.code.extend_from_slice(&set);
                operand
            }
        })
    }

    fn land_if(&mut self, operand: Option<usize>) {
        if let Some(operand) = operand {
            self.land(operand);
        }
    }

    /// The node at `at`, before something that begins with a byte of `follow`. `last`: a `Return` comes next.
    fn node(&mut self, at: usize, follow: &Set, last: bool) -> Result<(), TooBig> {
        if self.code.len() > MOST {
            return Err(TooBig);
        }
        let node = self.at(at);
        if let Some(set) = as_set(node) {
            self.set(&set);
            return Ok(());
        }
        let inner = at + head(node);
        match tag(node) {
            Tag::True => {}
            Tag::False => self.emit(Op::Fail, 0, &[]),
            Tag::Any => self.emit(Op::Any, 0, &[node[1]]),
            Tag::Bytes => {
                if node[1] as usize > MOST * 4 {
                    return Err(TooBig);
                }
                self.emit(Op::Bytes, 0, &node[1..head(node)]);
            }
            Tag::Set => {}
            Tag::Utf => self.emit(Op::Utf, 0, &node[1..3]),
            Tag::Seq => self.sequence(at, follow, last)?,
            Tag::Choice => self.choice(at, follow, last)?,
            Tag::AtLeast => {
                for _ in 0..node[2] {
                    self.node(inner, &FULL, false)?;
                }
                self.repeat(inner, follow)?;
            }
            Tag::AtMost => self.at_most(inner, node[2], follow)?,
            Tag::And => self.and(inner)?,
            Tag::Not => self.not(inner)?,
            Tag::Behind => {
                if node[2] > 0 {
                    self.emit(Op::Behind, 0, &[node[2]]);
                }
                self.node(inner, &FULL, false)?;
            }
            // The rule's own `Return` goes back to where this one would.
            Tag::Call => {
                let operand = self.leap(if last { Op::Jump } else { Op::Call }, 0);
                self.calls.push((operand as u32, node[2]));
            }
            Tag::Grammar => self.grammar(at)?,
            Tag::Rule => self.node(inner, follow, last)?,
            Tag::Capture => {
                let inside = child(node);
                match fixed_length(inside, &|_| None) {
                    Some(len) if !has_captures(inside) => {
                        self.node(inner, follow, false)?;
                        self.emit(Op::Full, kind(node) as u32, &[node[2], len]);
                    }
                    _ => {
                        self.emit(Op::Open, kind(node) as u32, &[node[2]]);
                        self.node(inner, follow, false)?;
                        self.emit(Op::Close, 0, &[]);
                    }
                }
            }
            Tag::Runtime => {
                self.emit(Op::Open, Kind::Runtime as u32, &[node[2]]);
                self.node(inner, &FULL, false)?;
                self.emit(Op::CloseRuntime, 0, &[node[2]]);
            }
        }
        Ok(())
    }

    fn set(&mut self, set: &Set) {
        match (*set, only(set)) {
            (EMPTY, _) => self.emit(Op::Fail, 0, &[]),
            (FULL, _) => self.emit(Op::Any, 0, &[1]),
            (_, Some(only)) => self.emit(Op::Byte, u32::from(only), &[]),
            _ => self.emit(Op::Set, 0, set),
        }
    }

    /// Where the children of a node begin.
    fn parts(&self, at: usize) -> Vec<usize> {
        let mut next = at + head(self.at(at));
        let mut parts = Vec::new();
        for part in children(self.at(at)) {
            parts.push(next);
            next += part.len();
        }
        parts
    }

    fn sequence(&mut self, at: usize, follow: &Set, last: bool) -> Result<(), TooBig> {
        let parts = self.parts(at);
        // What begins behind each part that asks for it, from the end.
        let mut behind = vec![*follow; parts.len()];
        for at in (1..parts.len()).rev() {
            if asks_behind(self.at(parts[at - 1])) {
                behind[at - 1] = self.first(parts[at], &behind[at]).set;
            }
        }
        for (at, part) in parts.iter().enumerate() {
            self.node(*part, &behind[at], last && at + 1 == parts.len())?;
        }
        Ok(())
    }

    fn choice(&mut self, at: usize, follow: &Set, last: bool) -> Result<(), TooBig> {
        let parts = self.parts(at);
        let firsts: Vec<First> = parts.iter().map(|&it| self.first(it, follow)).collect();
        if parts.len() >= SWITCH && self.switch(&parts, &firsts, follow, last)? {
            return Ok(());
        }
        // What all parts behind one begin with.
        let mut rest = vec![First::NONE; parts.len()];
        for at in (1..parts.len()).rev() {
            rest[at - 1] = rest[at].or(firsts[at]);
        }
        let mut ends = Vec::new();
        for (at, &part) in parts.iter().enumerate() {
            if at + 1 == parts.len() {
                self.node(part, follow, last)?;
                break;
            }
            let test = self.test(&firsts[at]);
            let decided = test.is_some()
                && (fails_at_first_byte(self.at(part), self.scope())
                    || disjoint(&firsts[at].set, &rest[at].set));
            if decided {
                self.node(part, follow, last)?;
                ends.push(self.leap(Op::Jump, 0));
            } else if test.is_none() && never_fails(self.at(part), self.scope()) {
                // What comes behind is never tried.
                self.node(part, follow, last)?;
                break;
            } else {
                let other = self.leap(Op::Choice, 0);
                // What fails behind it must not come back to the other parts, so nothing of it is looked at here.
                self.node(part, &FULL, false)?;
                ends.push(self.leap(Op::Commit, 0));
                self.land(other);
            }
            self.land_if(test);
        }
        for end in ends {
            self.land(end);
        }
        Ok(())
    }

    /// A choice by the next byte, if no byte leads to two parts. Only the last part may match at the end of the subject.
    fn switch(
        &mut self,
        parts: &[usize],
        firsts: &[First],
        follow: &Set,
        last: bool,
    ) -> Result<bool, TooBig> {
        let before = &firsts[..firsts.len() - 1];
        let mut seen = EMPTY;
        for first in before {
            if first.may_be_missing || !disjoint(&seen, &first.set) {
                return Ok(false);
            }
            seen = combine(&seen, &first.set, |a, b| a | b);
        }
        let rest = &firsts[before.len()];
        if !disjoint(&seen, &rest.set) || parts.len() > 254 {
            return Ok(false);
        }
        // By byte: 0 is none, or else the last part if that may match anything.
        let mut table = [0u8; 256];
        for (at, first) in firsts.iter().enumerate() {
            for byte in members(&first.set) {
                table[usize::from(byte)] = at as u8 + 1;
            }
        }
        let none = self.leap(Op::Switch, 0);
        for four in table.chunks_exact(4) {
            self.code.push(u32::from_le_bytes([four[0], four[1], four[2], four[3]]));
        }
        let places = self.code.len();
        self.code.resize(places + 1 + parts.len(), 0);
        let mut ends = Vec::new();
        for (at, &part) in parts.iter().enumerate() {
            self.land(places + 1 + at);
            if at + 1 == parts.len() && rest.may_be_missing {
                self.land(none);
                self.land(places);
            }
            self.node(part, follow, last)?;
            if at + 1 < parts.len() || !rest.may_be_missing {
                ends.push(self.leap(Op::Jump, 0));
            }
        }
        if !rest.may_be_missing {
            self.land(none);
            self.land(places);
            self.emit(Op::Fail, 0, &[]);
        }
        for end in ends {
            self.land(end);
        }
        Ok(true)
    }

    /// As often as it goes.
    fn repeat(&mut self, at: usize, follow: &Set) -> Result<(), TooBig> {
        let node = self.at(at);
        if let Some(set) = as_set(node) {
            if set != EMPTY {
                self.emit(Op::Span, 0, &set);
            }
            return Ok(());
        }
        let begins = self.first(at, &FULL);
        let again = combine(&begins.set, follow, |a, b| a | b);
        let start = self.here();
        let test = self.test(&begins);
        if test.is_some() && (fails_at_first_byte(node, self.scope()) || disjoint(&begins.set, follow)) {
            self.node(at, &again, false)?;
            self.emit(Op::Jump, 0, &[start]);
        } else {
            let out = self.leap(Op::Choice, 0);
            let body = self.here();
            self.node(at, &FULL, false)?;
            self.emit(Op::PartialCommit, 0, &[body]);
            self.land(out);
        }
        self.land_if(test);
        Ok(())
    }

    /// Up to `times` times.
    fn at_most(&mut self, at: usize, times: u32, follow: &Set) -> Result<(), TooBig> {
        let begins = self.first(at, &FULL);
        let mut outs = Vec::new();
        if !begins.may_be_missing
            && (fails_at_first_byte(self.at(at), self.scope()) || disjoint(&begins.set, follow))
        {
            for _ in 0..times {
                outs.extend(self.test(&begins));
                self.node(at, &FULL, false)?;
            }
        } else {
            outs.extend(self.test(&begins));
            outs.push(self.leap(Op::Choice, 0));
            for round in 0..times {
                if round > 0 {
                    let operand = self.leap(Op::PartialCommit, 0);
                    self.land(operand);
                }
                self.node(at, &FULL, false)?;
            }
            outs.push(self.leap(Op::Commit, 0));
        }
        for out in outs {
            self.land(out);
        }
        Ok(())
    }

    fn and(&mut self, at: usize) -> Result<(), TooBig> {
        let node = &self.at(at)[..size(self.at(at))];
        match fixed_length(node, &|_| None) {
            Some(len) if !has_captures(node) => {
                self.node(at, &FULL, false)?;
                if len > 0 {
                    self.emit(Op::Behind, 0, &[len]);
                }
            }
            _ => {
                let no = self.leap(Op::Choice, 0);
                self.node(at, &FULL, false)?;
                let yes = self.leap(Op::BackCommit, 0);
                self.land(no);
                self.emit(Op::Fail, 0, &[]);
                self.land(yes);
            }
        }
        Ok(())
    }

    fn not(&mut self, at: usize) -> Result<(), TooBig> {
        let begins = self.first(at, &FULL);
        let test = self.test(&begins);
        if test.is_some() && fails_at_first_byte(self.at(at), self.scope()) {
            self.emit(Op::Fail, 0, &[]);
        } else {
            let none = self.leap(Op::Choice, 0);
            self.node(at, &FULL, false)?;
            self.emit(Op::FailTwice, 0, &[]);
            self.land(none);
        }
        self.land_if(test);
        Ok(())
    }

    fn grammar(&mut self, at: usize) -> Result<(), TooBig> {
        let rules = analysis::rules(self.words, at);
        let around = std::mem::replace(&mut self.rules, rules);
        let calls = std::mem::take(&mut self.calls);
        let start = self.leap(Op::Call, 0);
        let end = self.leap(Op::Jump, 0);
        self.land(start);
        let mut places = Vec::with_capacity(self.rules.len());
        for rule in 0..self.rules.len() {
            places.push(self.here());
            self.node(self.rules[rule] as usize, &FULL, true)?;
            self.emit(Op::Return, 0, &[]);
        }
        self.land(end);
        for (operand, rule) in std::mem::replace(&mut self.calls, calls) {
            self.code[operand as usize] = places.get(rule as usize).copied().unwrap_or(0);
        }
        self.rules = around;
        Ok(())
    }
}
