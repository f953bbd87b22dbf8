-- register_socket: mirrors domain/registration.rs
-- Registers a name for a future connection, with a description of its device.
local name, device = ARGV[6], ARGV[7]
local names, count = registered()
local known = names[name]
local live = known and string.match(known, '^l%d+:(.*)$')
if live then return '{"c":["' .. live .. '"]}' end
if not known and count >= NAMES_MAX then return refuse('names') end
register(names, name, string.format('p%.0f ', now + PENDING_MS) .. device)
return '{}'
