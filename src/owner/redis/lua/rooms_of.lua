-- rooms_of: mirrors domain/roster.rs
-- The user's room list.
local rooms = call('ZRANGE', key .. ':p', 0, -1)
for at, room in ipairs(rooms) do rooms[at] = cjson.encode(room) end
call('PEXPIRE', key .. ':p', ROOM_LIST_MS)
return '{"o":[' .. table.concat(rooms, ',') .. ']}'
