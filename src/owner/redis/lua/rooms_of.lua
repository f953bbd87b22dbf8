-- rooms_of: mirrors domain/roster.rs
-- ARGV: 6 for how long they are remembered, in milliseconds.
local rooms = call('ZRANGE', K .. ':p', 0, -1)
for at, room in ipairs(rooms) do rooms[at] = cjson.encode(room) end
call('PEXPIRE', K .. ':p', ARGV[6])
return '{"o":[' .. table.concat(rooms, ',') .. ']}'
