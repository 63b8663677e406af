//! `skynet.crypt`, `client.crypt`, `md5` and `skein.crypt`. `golden/crypt.json` and `golden/md5.json` were recorded from skynet; its extension is held to the
//! vectors of the standards.

mod support;

use serde_json::Value as Json;
use skein_vm::mlua::{LuaString, MultiValue, Value};
use support::{Probe, describe_all, hex, string, unhex};

const CRYPT: &str = include_str!("golden/crypt.json");
const MD5: &str = include_str!("golden/md5.json");

fn golden(file: &str, part: &str) -> Vec<Json> {
    let file: Json = serde_json::from_str(file).unwrap();
    file[part].as_array().unwrap().clone()
}

/// Every way to name the module.
const NAMES: [&str; 2] = ["skynet.crypt", "client.crypt"];

struct Crypt {
    probe: Probe,
    name: &'static str,
}

impl Crypt {
    fn open(name: &'static str) -> Crypt {
        let probe = Probe::new();
        probe.eval::<()>(format!("crypt = require '{name}'"));
        Crypt { probe, name }
    }

    /// What `function` makes of these strings and this number: hexadecimal, or an error.
    fn call(&self, function: &str, arguments: &[&Json], number: Option<i64>) -> Result<String, String> {
        let mut values = vec![Value::String(string(&self.probe.lua, function.as_bytes()))];
        for argument in arguments {
            let bytes = unhex(argument.as_str().unwrap());
            values.push(Value::String(string(&self.probe.lua, &bytes)));
        }
        values.extend(number.map(Value::Integer));
        self.probe.globals.set("given", self.probe.lua.create_sequence_from(values).unwrap()).unwrap();
        let (ok, text): (bool, LuaString) =
            self.probe.eval("return pcall(crypt[given[1]], table.unpack(given, 2))");
        let text = text.as_bytes();
        if ok { Ok(hex(&text)) } else { Err(String::from_utf8_lossy(&text).into_owned()) }
    }

    #[track_caller]
    fn check(&self, function: &str, arguments: &[&str], case: &Json, number: Option<i64>) {
        let given: Vec<&Json> = arguments.iter().map(|name| &case[*name]).collect();
        let expected = match case.get("error") {
            Some(error) => Err(error.as_str().unwrap().to_owned()),
            None => Ok(case["out"].as_str().unwrap().to_owned()),
        };
        assert_eq!(self.call(function, &given, number), expected, "{}.{function} {case}", self.name);
    }
}

#[test]
fn every_function_answers_as_skynet_does() {
    const FUNCTIONS: [(&str, &[&str]); 11] = [
        ("sha1", &["in"]),
        ("hmac_sha1", &["key", "text"]),
        ("hashkey", &["in"]),
        ("hmac64", &["x", "y"]),
        ("hmac64_md5", &["x", "y"]),
        ("hmac_hash", &["key", "text"]),
        ("dhexchange", &["x"]),
        ("dhsecret", &["x", "y"]),
        ("hexencode", &["in"]),
        ("base64encode", &["in"]),
        ("base64decode", &["in"]),
    ];
    for name in NAMES {
        let crypt = Crypt::open(name);
        for (function, arguments) in FUNCTIONS {
            for mut case in golden(CRYPT, function) {
                // What these make is text already.
                if matches!(function, "hexencode" | "base64encode") {
                    case["out"] = hex(case["out"].as_str().unwrap().as_bytes()).into();
                }
                crypt.check(function, arguments, &case, None);
            }
        }
        let padding: Vec<(String, i64)> = golden(CRYPT, "padding")
            .iter()
            .map(|it| (it["name"].as_str().unwrap().to_owned(), it["value"].as_i64().unwrap()))
            .collect();
        for (padding, value) in &padding {
            assert_eq!(crypt.probe.eval::<i64>(format!("return crypt.padding.{padding}")), *value);
        }
        let number =
            |case: &Json| padding.iter().find(|(name, _)| case["padding"] == *name).map(|(_, value)| *value);
        for case in golden(CRYPT, "desencode") {
            crypt.check("desencode", &["key", "text"], &case, number(&case));
            let back = crypt.call("desdecode", &[&case["key"], &case["out"]], number(&case));
            assert_eq!(back.as_deref(), Ok(case["text"].as_str().unwrap()), "{case}");
        }
        for case in golden(CRYPT, "desdecode") {
            crypt.check("desdecode", &["key", "in"], &case, number(&case));
        }
    }
}

#[test]
fn both_sides_of_an_exchange_agree() {
    let crypt = Crypt::open("skynet.crypt");
    for case in golden(CRYPT, "dh") {
        let field = |name: &str| Ok(case[name].as_str().unwrap().to_owned());
        assert_eq!(crypt.call("dhexchange", &[&case["a"]], None), field("exchange_a"));
        assert_eq!(crypt.call("dhexchange", &[&case["b"]], None), field("exchange_b"));
        assert_eq!(crypt.call("dhsecret", &[&case["exchange_a"], &case["b"]], None), field("secret"));
        assert_eq!(crypt.call("dhsecret", &[&case["exchange_b"], &case["a"]], None), field("secret"));
    }
}

#[test]
fn other_calls_answer_as_skynet_does() {
    let probe = Probe::new();
    // Loaded first, so that texts find its functions under its name.
    probe.eval::<()>("crypt = require 'skynet.crypt' for name, f in pairs(crypt) do _ENV[name] = f end");
    probe.globals.set("md5", md5(&probe)).unwrap();
    for case in golden(CRYPT, "calls") {
        let call = case["call"].as_str().unwrap();
        // More than skynet takes: see docs/compat.md.
        if call == "hexdecode('0g')" {
            assert!(probe.error("hexdecode('0g')").ends_with("Invalid hex text"));
            continue;
        }
        match case.get("error") {
            Some(error) => {
                let error = error.as_str().unwrap();
                let (function, arguments) = call.split_once('(').unwrap();
                let comma = if arguments == ")" { "" } else { "," };
                let raised: String =
                    probe.eval(format!("return select(2, pcall({function}{comma} {arguments})"));
                assert_eq!(raised.replace("'md5.core.exor'", "'exor'"), error, "{call}");
            }
            None => {
                // Texts were recorded in hexadecimal, and then once more.
                let shown = match &case["result"][0] {
                    it if call.starts_with("sha1") || call.starts_with("md5") => {
                        String::from_utf8(unhex(it["hex"].as_str().unwrap())).unwrap()
                    }
                    it => it["hex"].as_str().unwrap_or_default().to_owned(),
                };
                let values: MultiValue = probe.eval(format!("return {call}"));
                match &values[0] {
                    Value::String(text) if call.starts_with("md5.hmac") => {
                        assert_eq!(text.to_str().unwrap(), shown, "{call}")
                    }
                    Value::String(text) => assert_eq!(hex(&text.as_bytes()), shown, "{call}"),
                    _ => assert_eq!(describe_all(&values), case["result"], "{call}"),
                }
            }
        }
    }
}

fn md5(probe: &Probe) -> Value {
    probe.eval(include_str!("../lualib/md5.lua"))
}

#[test]
fn md5_is_that_of_skynet() {
    let probe = Probe::new();
    probe.globals.set("md5", md5(&probe)).unwrap();
    for case in golden(MD5, "md5") {
        let text = string(&probe.lua, &unhex(case["in"].as_str().unwrap()));
        probe.globals.set("text", text).unwrap();
        let (sum, sumhexa): (LuaString, String) = probe.eval("return md5.sum(text), md5.sumhexa(text)");
        assert_eq!(hex(&sum.as_bytes()), case["sum"], "{case}");
        assert_eq!(sumhexa, case["sumhexa"], "{case}");
    }
    let cipher: LuaString = probe.eval("return md5.crypt('hello world 1234567890', 'key', 'seed')");
    assert_eq!(hex(&cipher.as_bytes()), "0473656564c78025b74eeaf25687f4eaa7e857692097723caab673");
    probe.eval::<()>(
        "for n = 0, 100 do
            local text, key, seed = ('t'):rep(n), ('k'):rep(n * 2), ('s'):rep(n % 17)
            assert(md5.decrypt(md5.crypt(text, key, seed), key) == text)
            assert(md5.decrypt(md5.crypt(text, key), key) == text)
        end
        assert(#md5.crypt('', '') == 9)",
    );
    for (call, error) in [
        ("md5.crypt, 'x', ('k'):rep(257)", "key too long (> 256)"),
        ("md5.crypt, 'x', 'k', ('s'):rep(17)", "seed too long (> 16)"),
        ("md5.decrypt, '', 'k'", "bad argument #1 to 'md5.core.decrypt' (invalid cyphered string)"),
        ("md5.decrypt, '\\4abc', 'k'", "bad argument #1 to 'md5.core.decrypt' (invalid cyphered string)"),
        (
            "md5.decrypt, '\\17' .. ('a'):rep(99), 'k'",
            "bad argument #1 to 'md5.core.decrypt' (invalid cyphered string)",
        ),
    ] {
        assert_eq!(probe.eval::<String>(format!("return select(2, pcall({call}))")), error);
    }
}

#[test]
fn keys_of_32_bytes_are_x25519() {
    // RFC 7748, 5.2 and 6.1.
    const VECTORS: [[&str; 3]; 2] = [
        [
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ],
        [
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ],
    ];
    let crypt = Crypt::open("skynet.crypt");
    for [secret, public, shared] in VECTORS {
        assert_eq!(crypt.call("dhsecret", &[&secret.into(), &public.into()], None), Ok(shared.to_owned()));
    }
}

#[test]
fn an_exchange_of_x25519_is_that_of_the_standard() {
    // RFC 7748, 6.1: secret, public, the other's secret, its public, both's.
    const EXCHANGE: [&str; 5] = [
        "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
        "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
        "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
        "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
    ];
    let [secret, public, other_secret, other_public, shared] = EXCHANGE;
    let crypt = Crypt::open("client.crypt");
    let call = |function, arguments: &[&str]| {
        let arguments: Vec<Json> = arguments.iter().map(|it| (*it).into()).collect();
        crypt.call(function, &arguments.iter().collect::<Vec<_>>(), None)
    };
    assert_eq!(call("dhexchange", &[secret]).as_deref(), Ok(public));
    assert_eq!(call("dhexchange", &[other_secret]).as_deref(), Ok(other_public));
    assert_eq!(call("dhsecret", &[secret, other_public]).as_deref(), Ok(shared));
    assert_eq!(call("dhsecret", &[other_secret, public]).as_deref(), Ok(shared));

    // Points of low order would make a secret that everybody knows.
    let zero = "00".repeat(32);
    for low in [&zero, &format!("01{}", "00".repeat(31))] {
        let error = "Invalid public key: the secret would be zero".to_owned();
        assert_eq!(call("dhsecret", &[secret, low]), Err(error));
    }
    let long = "00".repeat(33);
    assert_eq!(call("dhexchange", &[&long]), Err("Invalid dh secret size 33".to_owned()));
    for pair in [[secret, &long], [&long, secret], ["0102030405060708", secret], [secret, ""]] {
        assert_eq!(call("dhsecret", &pair), Err("Invalid key size".to_owned()), "{pair:?}");
    }
}

#[test]
fn the_extension_follows_the_standards() {
    let probe = Probe::new();
    probe.eval::<()>(
        "local hexdecode = require 'skynet.crypt'.hexdecode
        crypt = require 'skein.crypt'
        function is(bytes, text) assert(bytes == hexdecode(text:gsub('%s', '')), text) end
        function from(text) return hexdecode(text) end",
    );
    probe.eval::<()>(
        // FIPS 180-4, RFC 4231.
        "is(crypt.sha256 'abc', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
        is(crypt.sha512 'abc', [[ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a
            2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f]])
        local text = 'what do ya want for nothing?'
        is(crypt.hmac_sha256('Jefe', text), '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843')
        is(crypt.hmac_sha512('Jefe', text), [[164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554
            9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737]])",
    );
    probe.eval::<()>(
        // RFC 8439, 2.8.2.
        r#"local key = from "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"
        local nonce = from "070000004041424344454647"
        local beside = from "50515253c0c1c2c3c4c5c6c7"
        local text = "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."
        local sealed = crypt.seal(key, nonce, text, beside)
        is(sealed, [[d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b
            1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc
            3ff4def08e4b7a9de576d26586cec64b6116 1ae10b594f09e26a7e902ecbd0600691]])
        assert(crypt.open(key, nonce, sealed, beside) == text)
        assert(crypt.open(key, nonce, crypt.seal(key, nonce, "")) == "")
        assert(crypt.open(key, nonce, crypt.seal(key, nonce, text, nil), "") == text)
        local function refused(...)
            local opened, why = crypt.open(...)
            assert(opened == nil and why == "not sealed with this key, nonce and company")
        end
        refused(key, nonce, sealed)
        refused(key, nonce, sealed, beside .. "x")
        refused(key, ("n"):rep(12), sealed, beside)
        refused(("k"):rep(32), nonce, sealed, beside)
        for at = 1, #sealed do
            refused(key, nonce, sealed:sub(1, at - 1) .. string.char(sealed:byte(at) ~ 1) .. sealed:sub(at + 1), beside)
            refused(key, nonce, sealed:sub(1, at - 1), beside)
        end
        assert(not pcall(crypt.seal, "short", nonce, text) and not pcall(crypt.seal, key, "short", text))
        assert(crypt.equal("", "") and crypt.equal("same", "same"))
        assert(not crypt.equal("same", "Same") and not crypt.equal("same", "sam"))
        assert(#crypt.random(0) == 0 and #crypt.random(1 << 20) == 1 << 20 and crypt.random(16) ~= crypt.random(16))
        assert(not pcall(crypt.random, -1) and not pcall(crypt.random, 1 << 21))"#,
    );
}

#[test]
fn long_texts_come_back() {
    let probe = Probe::new();
    probe.eval::<()>(
        "local crypt = require 'skynet.crypt'
        for _, n in ipairs { 0, 1, 7, 8, 31, 32, 33, 511, 512, 1023, 1024, 1025, 100000 } do
            local text = crypt.randomkey():rep(n // 8 + 1):sub(1, n)
            assert(crypt.hexdecode(crypt.hexencode(text)) == text)
            assert(crypt.base64decode(crypt.base64encode(text)) == text)
            assert(crypt.base64decode((crypt.base64encode(text):gsub('..', '%0\\n'):gsub('\\n*$', ''))) == text)
            assert(crypt.xor_str(crypt.xor_str(text, 'key'), 'key') == text)
            for _, padding in pairs(crypt.padding) do
                local cipher = crypt.desencode('8 bytes!', text, padding)
                assert(#cipher == (n // 8 + 1) * 8 and crypt.desdecode('8 bytes!', cipher, padding) == text)
            end
        end
        for _ = 1, 1000 do
            local key, all = crypt.randomkey(), 0
            for at = 1, 8 do all = all ~ key:byte(at) end
            assert(#key == 8 and all ~= 0)
        end",
    );
}
