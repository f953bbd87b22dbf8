-- read_receipts: mirrors domain/history.rs
-- Receipts of a message.
local connection, message = ARGV[5], ARGV[6]
local why = open()
if why then return refuse(why) end
if call('HEXISTS', members_key, connection) == 0 then return refuse('not_in_room') end
if not room.kept or call('HEXISTS', ids_key, message) == 0 then return refuse('message_not_found') end
local list = {}
local known = call('HGETALL', key .. ':k:' .. message)
for at = 1, #known, 2 do
  list[#list + 1] = '[' .. cjson.encode(known[at]) .. ',' .. known[at + 1] .. ']'
end
return done('"l":[' .. table.concat(list, ',') .. ']')
