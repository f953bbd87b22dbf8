-- read_receipts: mirrors domain/history.rs
-- Receipts of a message. `connection`: empty for a backend, which need not be a member.
local connection, message = ARGV[5], ARGV[6]
local why = open(connection == '')
if why then return refuse(why) end
if connection ~= '' and call('HEXISTS', members_key, connection) == 0 then return refuse('not_in_room') end
if not room.kept or call('HEXISTS', ids_key, message) == 0 then return refuse('message_not_found') end
-- Each mark is followed by its time.
local marks = key .. ':k:' .. message
local is_complete = call('HLEN', marks) <= MARKS_LISTED
local list = is_complete and call('HGETALL', marks) or call('HRANDFIELD', marks, MARKS_LISTED, 'WITHVALUES')
rest()
return done('"c":' .. (is_complete and 1 or 0) .. ',"l":' .. (#list > 0 and cjson.encode(list) or '[]'))
