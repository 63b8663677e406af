-- Runs before each service of the test `loader`: conformance L12.
PRELOADED = { name = SERVICE_NAME, words = table.pack(...), order = (PRELOADED and PRELOADED.order or 0) + 1 }
