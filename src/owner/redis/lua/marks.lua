-- marks: mirrors domain/history.rs
-- ARGV: 5 connection, 6 message.
local why = open()
if why then return refuse(why) end
if call('HEXISTS', M, ARGV[5]) == 0 then return refuse('not_in_room') end
if not room.kept or call('HEXISTS', I, ARGV[6]) == 0 then return refuse('message_not_found') end
local list = {}
local known = call('HGETALL', K .. ':k:' .. ARGV[6])
for at = 1, #known, 2 do
  list[#list + 1] = '[' .. cjson.encode(known[at]) .. ',' .. known[at + 1] .. ']'
end
return done('"l":[' .. table.concat(list, ',') .. ']')
