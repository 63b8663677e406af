--- What do hashes, DES and the text codings cost? A short text is what a login server sees, a long one a message body.
local crypt = require "skynet.crypt"
local md5 = require "md5"
local bench = require "bench"

local STEP <const> = 16
local KEY <const> = "8 bytes!"

local short = ("0123456789abcdef"):rep(4)
local long = ("The quick brown fox jumps over the lazy dog. "):rep(92):sub(1, 4096)

bench.start(function()
    local function each(name, f)
        bench.measure(name .. "_short", STEP, f(short))
        bench.measure(name .. "_long", STEP, f(long))
    end
    --- Loops over a function of one text, or of a key and a text.
    local function of_text(call)
        return function(text)
            return function(n)
                for _ = 1, n do
                    call(text)
                end
            end
        end
    end
    local function with_key(call)
        return function(text)
            return function(n)
                for _ = 1, n do
                    call(KEY, text)
                end
            end
        end
    end
    each("sha1", of_text(crypt.sha1))
    each("hmac_sha1", with_key(crypt.hmac_sha1))
    each("md5", of_text(md5.sum))
    each("hex_encode", of_text(crypt.hexencode))
    each("base64_encode", of_text(crypt.base64encode))
    short, long = crypt.base64encode(short), crypt.base64encode(long)
    each("base64_decode", of_text(crypt.base64decode))
    each("des_encode", with_key(crypt.desencode))
    short, long = crypt.desencode(KEY, short), crypt.desencode(KEY, long)
    each("des_decode", with_key(crypt.desdecode))
    bench.measure("dh_secret", STEP, function(n)
        for _ = 1, n do
            crypt.dhsecret("\1\2\3\4\5\6\7\8", "\x98\x76\x54\x32\x10\xfe\xdc\xba")
        end
    end)
end)
