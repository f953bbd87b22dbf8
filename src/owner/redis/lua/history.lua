-- history: mirrors domain/history.rs
-- ARGV: 5 connection, 6 after which number, or empty for the newest, 7 how many.
local why = open()
if why then return refuse(why) end
if call('HEXISTS', M, ARGV[5]) == 0 then return refuse('not_in_room') end
return done(page(tonumber(ARGV[6]), tonumber(ARGV[7])))
