-- set_media: mirrors domain/membership.rs
-- A member changes its media. `own_peer`: the peer id that it gives as its own, or empty; `keeps_sfu`: 1 if it can use a media
-- server or not, as before.
local connection, own_peer, media, keeps_sfu = ARGV[5], ARGV[6], tonumber(ARGV[7]), ARGV[8]
local why = open()
if why then return refuse(why) end
touch()
local seat = seat_of(connection)
if not seat then return refuse('not_in_room') end
if own_peer ~= '' and own_peer ~= seat.c and name_of(seat) ~= own_peer then return refuse('peer_mismatch') end
if observes(seat) then return refuse('observer') end
local before = seat.v
local kept = keeps_sfu == '1' and before - before % 8 or before - before % 16
seat.v = media + kept
note_media(before, seat.v)
tell('*' .. seat.c, '{"media":' .. write(seat) .. '}')
return done('"r":1')
