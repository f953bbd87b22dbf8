-- typists: mirrors domain/typing.rs
-- ARGV: 5 connection.
local why = open()
if why then return refuse(why) end
touch()
if call('HEXISTS', M, ARGV[5]) == 0 then return refuse('not_in_room') end
return done('"l":[' .. table.concat(call('HVALS', T), ',') .. ']')
