//! Hash parts that copies of a state have in common: nobody sees that they are, whatever is done to a table.

mod common;

use common::{copy, run, sure_image};

/// What a library is: functions without upvalues, texts, numbers.
const LIBRARY: &str = r#"
    library = { name = "text", number = 12, real = 1.5, yes = true, no = false }
    for _, from in ipairs { string, table, math, os, coroutine, utf8 } do
        for name, value in pairs(from) do library[name] = value end
    end
"#;

#[test]
fn what_a_state_writes_to_a_library_is_its_own() {
    let image = sure_image(LIBRARY);
    let states = [copy(&image, &7), copy(&image, &7), copy(&image, &7)];
    run(
        &states[0],
        "library.name, string.format, table.extra, math.pi = 'other', nil, 1, 3 rawset(os, 'x', 1)",
    )
    .unwrap();
    run(&states[1], "for name in pairs(library) do library[name] = nil end assert(next(library) == nil)")
        .unwrap();
    run(
        &states[0],
        "assert(library.name == 'other' and string.format == nil and math.pi == 3 and os.x == 1)",
    )
    .unwrap();
    let untouched = "assert(library.name == 'text' and library.yes and library.no == false and library.number == 12) \
        assert(string.format('%d', 3) == '3' and ('x'):rep(2) == 'xx' and table.extra == nil and os.x == nil and math.pi > 3)";
    run(&states[2], untouched).unwrap();
    run(&copy(&image, &7), untouched).unwrap();
}

#[test]
fn a_table_that_is_not_written_to_costs_a_copy_no_hash_part() {
    let image = sure_image(LIBRARY);
    let state = copy(&image, &7);
    let used = |code: &str| {
        run(&state, code).unwrap();
        run(&state, "collectgarbage() collectgarbage()").unwrap();
        state.memory().used()
    };
    let before = used(
        "assert(library.name) for name in pairs(library) do assert(library[name] ~= nil) end assert(not library.new)",
    );
    let owned = used("library.name = 'mine'");
    // 128 places of 24 bytes: there are more than 64 names.
    assert!(owned - before > 128 * 24, "{before} {owned}");
    assert!(used("library.name = 'yours'") <= owned + 64);
}

/// Random operations on a library and on a table of the state's own that was equal, compared after each.
const PROGRAM: &str = r##"
    local round = ...
    local plain = {}
    for name, value in pairs(library) do plain[name] = value end
    local both = { library, plain }
    local names = {}
    for name in pairs(library) do names[#names + 1] = name end
    table.sort(names)
    for i = 1, 20 do names[#names + 1] = "new" .. i end
    for i = 1, 5 do names[#names + 1] = i names[#names + 1] = i + 0.5 end
    names[#names + 1] = ("long"):rep(20)
    local values = { false, true, 1, 2.5, "text", print, {}, function() end, ("long"):rep(30) }
    local function pick(list) return list[math.random(#list)] end
    local function same()
        local count = 0
        for name, value in next, library do
            count = count + 1
            assert(rawequal(rawget(plain, name), value), tostring(name))
        end
        for name in next, plain do count = count - 1 assert(rawget(library, name) ~= nil, tostring(name)) end
        assert(count == 0)
    end
    local logs = { {}, {} }
    local steps = {
        function(name, value) for _, t in ipairs(both) do t[name] = value end end,
        function(name) for _, t in ipairs(both) do t[name] = nil end end,
        function(name, value) for _, t in ipairs(both) do rawset(t, name, value) end end,
        function(name, value) for _, t in ipairs(both) do assert(pcall(function() t[name] = value end)) end end,
        function(_, value) for _, t in ipairs(both) do t[1] = value end end,
        function(_, value) for _, t in ipairs(both) do t.number = value end end,
        function(_, value) for _, t in ipairs(both) do t.absent = nil end end,
        function(_, value)
            local ok = {}
            for i, t in ipairs(both) do ok[i] = pcall(function() t[nil] = value end) end
            assert(ok[1] == ok[2])
        end,
        function(_, value) for _, t in ipairs(both) do assert(not pcall(rawset, t, 0 / 0, value)) end end,
        function() collectgarbage(pick { "step", "collect" }) end,
        function(name)
            for _, t in ipairs(both) do
                for key in pairs(t) do if key ~= name and #tostring(key) % 3 == 0 then t[key] = nil end end
            end
        end,
        function(name, value)
            for i, t in ipairs(both) do
                setmetatable(t, { __newindex = function(_, key, v) table.insert(logs[i], tostring(key)) table.insert(logs[i], v) end })
                t[name] = value
            end
        end,
        function() for _, t in ipairs(both) do setmetatable(t, nil) end end,
        function() for _, t in ipairs(both) do setmetatable(t, { __mode = "kv" }) end collectgarbage() end,
        function(name, value) for _, t in ipairs(both) do setmetatable(t, { __index = { [name] = value } }) end end,
    }
    math.randomseed(round)
    for _ = 1, math.random(12) do
        pick(steps)(pick(names), pick(values))
        same()
        assert(#logs[1] == #logs[2])
        for i = 1, #logs[1] do assert(rawequal(logs[1][i], logs[2][i])) end
    end
"##;

#[test]
fn random_programs_find_no_difference_to_a_table_of_their_own() {
    let image = sure_image(LIBRARY);
    for round in 1..=300 {
        let state = copy(&image, &7);
        for mode in ["incremental", "generational"] {
            if round % 2 == (mode == "incremental") as i32 {
                run(&state, &format!("collectgarbage '{mode}'")).unwrap();
            }
        }
        run(&state, &PROGRAM.replace("...", &round.to_string()))
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
}
