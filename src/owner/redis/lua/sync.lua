-- sync: mirrors domain/history.rs
-- ARGV: 5 connection, 6 after which message, by id, 7 how many.
local why = open()
if why then return refuse(why) end
if call('HEXISTS', M, ARGV[5]) == 0 then return refuse('not_in_room') end
local seq = call('HGET', I, ARGV[6])
if not seq then return refuse('message_not_found') end
return done(page(tonumber(seq), tonumber(ARGV[7])))
