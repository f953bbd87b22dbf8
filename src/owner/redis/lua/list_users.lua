-- list_users: mirrors domain/roster.rs
-- The room, and a page of its users: `limit` users after `after` (empty: from the first).
local user_id, is_admin, after, limit = ARGV[5], ARGV[6], ARGV[7], tonumber(ARGV[8])
local why = open()
if why then return refuse(why) end
if not admits(user_id, is_admin) then return refuse('private') end
check_users()
local users = {}
if limit > 0 then
  users = call('ZRANGEBYLEX', users_key, after == '' and '-' or '(' .. after, '+', 'LIMIT', 0, limit + 1)
end
local is_more = #users > limit
if is_more then users[#users] = nil end
return done(view() .. ',"l":[],"t":' .. call('ZCARD', users_key) .. ',"us":' .. (#users > 0 and cjson.encode(users) or '[]') ..
  ',"more":' .. (is_more and 1 or 0))
