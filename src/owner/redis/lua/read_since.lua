-- read_since: mirrors domain/history.rs
-- A page of the log after a message.
local connection, message, limit = ARGV[5], ARGV[6], tonumber(ARGV[7])
local why = open()
if why then return refuse(why) end
if call('HEXISTS', members_key, connection) == 0 then return refuse('not_in_room') end
local seq = call('HGET', ids_key, message)
if not seq then return refuse('message_not_found') end
local start, texts = page(tonumber(seq), limit)
return done(start, false, texts)
