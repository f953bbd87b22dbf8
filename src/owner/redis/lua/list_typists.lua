-- list_typists: mirrors domain/typing.rs
-- The active typing indicators.
local connection = ARGV[5]
local why = open()
if why then return refuse(why) end
touch()
if call('HEXISTS', members_key, connection) == 0 then return refuse('not_in_room') end
return done('"l":[' .. table.concat(call('HVALS', typing_key), ',') .. ']')
