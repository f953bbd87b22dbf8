-- join: mirrors domain/membership.rs
return refuse('todo')
