-- read_history: mirrors domain/history.rs
-- A page of the log: after a number, or the newest if `after` is nil. `connection` is empty for a backend.
local connection, after, limit = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local why = open(connection == '')
if why then return refuse(why) end
if connection ~= '' and call('HEXISTS', members_key, connection) == 0 then return refuse('not_in_room') end
local start, texts = page(after, limit)
return done(start, false, texts)
