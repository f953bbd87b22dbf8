-- register: mirrors domain/registration.rs
-- ARGV: 6 the name, 7 what is said of the connection, 8 names they may register.
local name = ARGV[6]
local names, count = registered()
local known = names[name]
local live = known and string.match(known, '^l%d+:(.*)$')
if live then return '{"c":["' .. live .. '"]}' end
if not known and count >= tonumber(ARGV[8]) then return refuse('names') end
register(names, name, string.format('p%.0f ', now + PENDING) .. ARGV[7])
return '{}'
